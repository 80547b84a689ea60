//! What a text costs, against a plain recount that cuts it into segments one by one.

use verigate::segment::{Encoding, Segments, measure, measure_ucs2};

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let measured = measure(text);
    recount(text, measured);
    let wide = measure_ucs2(text);
    assert_eq!(wide.encoding, Encoding::Ucs2);
    recount(text, wide);
    if measured.encoding == Encoding::Gsm7 {
        assert!(measured.segments <= wide.segments, "the small alphabet costs more");
    } else {
        assert_eq!(measured, wide);
    }
    // More text never costs less.
    let longer = format!("{text} .");
    assert!(measure(&longer).segments >= measured.segments || measure(&longer).encoding != measured.encoding);
}

fn recount(text: &str, measured: Segments) {
    let Segments { encoding, units, segments, units_per_segment } = measured;
    let widths: Vec<usize> = match encoding {
        Encoding::Gsm7 => text.chars().map(|c| if "^{}\\[~]|€\u{c}".contains(c) { 2 } else { 1 }).collect(),
        Encoding::Ucs2 => text.chars().map(char::len_utf16).collect(),
    };
    assert_eq!(units, widths.iter().sum::<usize>());
    assert!(segments >= 1 && segments * units_per_segment >= units);
    assert_eq!(segments == 1, units <= encoding.units_alone());
    if segments > 1 {
        assert_eq!(units_per_segment, encoding.units_joined());
        let mut room = vec![0_usize];
        for width in widths {
            let used = room.last_mut().unwrap();
            if *used + width > units_per_segment {
                room.push(width);
            } else {
                *used += width;
            }
        }
        assert_eq!(room.len(), segments);
    }
}
