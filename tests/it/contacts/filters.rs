//! Finding rows: every operator on every type that has it, and pages that stay stable.

use std::time::Duration;

use serde_json::{Value, json};
use tonic::Code;
use verigate::proto::contacts::v1::{ColumnType, FilterOperator, QueryRowsRequest, RowFilter};

use crate::contacts::{add_column, create, every_type, query, table, update_column, value};
use crate::support::gateway::{Contacts, Gateway, violations, wrong_fields};

fn filter(column: &str, operator: FilterOperator, plain: Value) -> RowFilter {
    let value = (!plain.is_null()).then(|| value(&plain));
    RowFilter { column_id: column.to_owned(), operator: operator.into(), value }
}

/// The notes of the rows that pass, oldest first.
async fn found(client: &mut Contacts, filters: Vec<RowFilter>) -> Vec<String> {
    let note = table(client).await.columns.into_iter().find(|column| column.name == "note").unwrap().id;
    let rows = query(client, filters).await.unwrap();
    let note_of = |columns: &std::collections::HashMap<String, prost_types::Value>| match &columns[&note].kind {
        Some(prost_types::value::Kind::StringValue(note)) => note.clone(),
        other => panic!("{other:?}"),
    };
    rows.iter().rev().map(|row| note_of(&row.columns)).collect()
}

#[tokio::test]
async fn each_operator_finds_what_it_says() {
    use FilterOperator::{Contains, Equals, GreaterThan, IsEmpty, IsNotEmpty, LessThan, NotEquals, StartsWith};

    let gateway = Gateway::start().await;
    let mut client = gateway.contacts().await;
    every_type(&mut client).await;
    for row in [
        json!({"note": "Ann", "age": 30, "birthday": "1990-05-01", "phone": "+60123456789", "mail": "ann@example.com",
            "site": "https://example.com/Ann", "plan": "pro", "colours": ["red", "blue"]}),
        json!({"note": "annabel", "age": 30.5, "birthday": "1990-05-01T12:00:00Z", "phone": "+6598765432",
            "mail": "bel@Example.org", "site": "http://example.org", "plan": "free", "colours": ["red"]}),
        json!({"note": "Éric", "age": -1}),
    ] {
        gateway.clock.advance(Duration::from_millis(1));
        create(&mut client, row).await.unwrap();
    }
    let (ann, bel, eric) = ("Ann", "annabel", "Éric");
    for (column, operator, plain, wanted) in [
        ("note", Equals, json!("ann"), vec![ann]),
        ("note", Equals, json!("éRIC"), vec![eric]),
        ("note", NotEquals, json!("ann"), vec![bel, eric]),
        ("note", Contains, json!("NN"), vec![ann, bel]),
        ("note", StartsWith, json!("é"), vec![eric]),
        ("note", StartsWith, json!("nn"), vec![]),
        ("age", Equals, json!(30), vec![ann]),
        ("age", NotEquals, json!(30), vec![bel, eric]),
        ("age", GreaterThan, json!(30), vec![bel]),
        ("age", LessThan, json!(30), vec![eric]),
        ("birthday", Equals, json!("1990-05-01T02:00:00+02:00"), vec![ann]),
        ("birthday", NotEquals, json!("1990-05-01"), vec![bel, eric]),
        ("birthday", GreaterThan, json!("1990-05-01"), vec![bel]),
        ("birthday", LessThan, json!("1990-05-02"), vec![ann, bel]),
        ("phone", Equals, json!("012 345 6789"), vec![ann]),
        ("phone", NotEquals, json!("+60123456789"), vec![bel, eric]),
        ("phone", StartsWith, json!("+65"), vec![bel]),
        ("phone", StartsWith, json!("60 12-3"), vec![ann]),
        ("phone", Contains, json!("765"), vec![bel]),
        ("mail", Equals, json!("ANN@example.com"), vec![ann]),
        ("mail", Contains, json!("@EXAMPLE."), vec![ann, bel]),
        ("mail", StartsWith, json!("bel"), vec![bel]),
        ("site", Equals, json!("https://example.com/ann"), vec![ann]),
        ("site", StartsWith, json!("http://"), vec![bel]),
        ("site", Contains, json!("example"), vec![ann, bel]),
        ("plan", Equals, json!("pro"), vec![ann]),
        ("plan", NotEquals, json!("pro"), vec![bel, eric]),
        ("colours", Equals, json!(["blue", "red"]), vec![ann]),
        ("colours", Equals, json!(["red"]), vec![bel]),
        ("colours", NotEquals, json!(["red"]), vec![ann, eric]),
        ("colours", Contains, json!(["red"]), vec![ann, bel]),
        ("colours", Contains, json!("blue"), vec![ann]),
        ("colours", Contains, json!(["red", "green"]), vec![]),
    ] {
        let passing = found(&mut client, vec![filter(column, operator, plain.clone())]).await;
        assert_eq!(passing, wanted, "{column} {operator:?} {plain}");
    }
    for column in ["birthday", "phone", "mail", "site", "plan", "colours"] {
        assert_eq!(found(&mut client, vec![filter(column, IsEmpty, json!(null))]).await, [eric], "{column}");
        assert_eq!(found(&mut client, vec![filter(column, IsNotEmpty, json!(null))]).await, [ann, bel], "{column}");
    }
    // All of them have to hold.
    let both = vec![filter("note", Contains, json!("ann")), filter("age", GreaterThan, json!(30))];
    assert_eq!(found(&mut client, both).await, [bel]);
    let by_id = table(&mut client).await.columns.into_iter().find(|column| column.name == "age").unwrap().id;
    assert_eq!(found(&mut client, vec![filter(&by_id, LessThan, json!(0))]).await, [eric]);
    // A cell whose options are gone is empty.
    let change = verigate::proto::contacts::v1::UpdateColumnRequest {
        remove_options: vec!["red".to_owned()],
        ..crate::contacts::change_of("colours")
    };
    update_column(&mut client, change).await.unwrap();
    assert_eq!(found(&mut client, vec![filter("colours", IsEmpty, json!(null))]).await, [bel, eric]);
    assert_eq!(found(&mut client, vec![filter("colours", Equals, json!(["blue"]))]).await, [ann]);
}

#[tokio::test]
async fn a_filter_that_makes_no_sense_is_told_by_its_place() {
    use FilterOperator::{Contains, Equals, GreaterThan, IsEmpty, LessThan, StartsWith, Unspecified};

    let gateway = Gateway::start().await;
    let mut client = gateway.contacts().await;
    every_type(&mut client).await;
    for (column, operator, plain, field, wanted) in [
        ("", Equals, json!("x"), "column_id", "column of the table"),
        ("nothing", Equals, json!("x"), "column_id", "column of the table"),
        ("note", Unspecified, json!("x"), "operator", "must be one that there is"),
        ("note", GreaterThan, json!("x"), "operator", "GREATER_THAN for a column of type TEXT"),
        ("age", Contains, json!(3), "operator", "CONTAINS for a column of type NUMBER"),
        ("birthday", StartsWith, json!("19"), "operator", "type DATE"),
        ("plan", Contains, json!("p"), "operator", "type SELECT"),
        ("colours", StartsWith, json!("r"), "operator", "type MULTI SELECT"),
        ("phone", LessThan, json!("+60"), "operator", "type PHONE NUMBER"),
        ("note", Equals, json!(null), "value", "must be set"),
        ("note", Equals, json!(""), "value", "must be set"),
        ("note", IsEmpty, json!("x"), "value", "must be left out"),
        ("note", Contains, json!(7), "value", "must be a text"),
        ("note", Contains, json!("x".repeat(2_001)), "value", "at most 2000 characters"),
        ("note", Equals, json!(true), "value", "must be a text, a number"),
        ("age", Equals, json!("3"), "value", "finite number"),
        ("birthday", GreaterThan, json!("soon"), "value", "must be a date"),
        ("phone", Equals, json!("12"), "value", "too short"),
        ("phone", Contains, json!("abc"), "value", "must be digits"),
        ("plan", Equals, json!("gold"), "value", "one of the column's options"),
        ("colours", Equals, json!("red"), "value", "must be a list"),
        ("colours", Contains, json!(["pink"]), "value", "one of the column's options"),
    ] {
        let good = filter("note", Equals, json!("x"));
        let refused = query(&mut client, vec![good, filter(column, operator, plain)]).await.unwrap_err();
        let told = violations(&refused);
        assert!(told.len() == 1 && told[0].0 == format!("filters[1].{field}"), "{column} {operator:?}: {told:?}");
        assert!(told[0].1.contains(wanted), "{told:?}");
    }
    let many = vec![filter("note", Equals, json!("x")); 21];
    assert_eq!(wrong_fields(&query(&mut client, many).await.unwrap_err()), ["filters"]);
    let request = QueryRowsRequest { page_size: -1, page_token: "x".to_owned(), ..QueryRowsRequest::default() };
    assert_eq!(wrong_fields(&client.query_rows(request).await.unwrap_err()), ["page_size", "page_token"]);
}

#[tokio::test]
async fn pages_stay_stable_while_rows_come_and_go() {
    let gateway = Gateway::start().await;
    let mut client = gateway.contacts().await;
    add_column(&mut client, "age", ColumnType::Number, &[]).await.unwrap();
    let mut ids = Vec::new();
    for number in 0..9 {
        gateway.clock.advance(Duration::from_millis(1));
        ids.insert(0, create(&mut client, json!({"age": number % 3})).await.unwrap().id);
    }
    let first = QueryRowsRequest { page_size: 4, ..QueryRowsRequest::default() };
    let mut request = first.clone();
    let mut seen = Vec::new();
    let mut sizes = Vec::new();
    loop {
        let page = client.query_rows(request).await.unwrap().into_inner();
        sizes.push(page.rows.len());
        seen.extend(page.rows.into_iter().map(|row| row.id));
        if page.next_page_token.is_empty() {
            break;
        }
        // One comes before each next page, and one that was seen goes.
        gateway.clock.advance(Duration::from_millis(1));
        create(&mut client, json!({"age": 0})).await.unwrap();
        crate::contacts::delete(&mut client, &seen[seen.len() - 1]).await.unwrap();
        request = QueryRowsRequest { page_token: page.next_page_token, ..first.clone() };
    }
    assert_eq!((seen, sizes), (ids.clone(), vec![4, 4, 1]));

    // With filters a page still holds as many as asked for, and its token goes with its filters.
    let zeros = vec![filter("age", FilterOperator::Equals, json!(0))];
    let request = QueryRowsRequest { page_size: 4, filters: zeros.clone(), ..QueryRowsRequest::default() };
    let page = client.query_rows(request.clone()).await.unwrap().into_inner();
    assert_eq!(page.rows.len(), 4);
    let next = QueryRowsRequest { page_token: page.next_page_token.clone(), ..request.clone() };
    let next = client.query_rows(next).await.unwrap().into_inner();
    assert!(next.rows.iter().all(|row| !page.rows.contains(row)) && next.next_page_token.is_empty());
    for filters in [Vec::new(), vec![filter("age", FilterOperator::Equals, json!(1))], [zeros.clone(), zeros].concat()]
    {
        let other = QueryRowsRequest { page_token: page.next_page_token.clone(), filters, ..request.clone() };
        let refused = client.query_rows(other).await.unwrap_err();
        assert_eq!((refused.code(), wrong_fields(&refused)), (Code::InvalidArgument, vec!["page_token".to_owned()]));
    }
}

#[tokio::test]
async fn a_page_fits_what_clients_read() {
    let gateway = Gateway::start().await;
    let mut client = gateway.contacts().await;
    for number in 0..8 {
        add_column(&mut client, &format!("text {number}"), ColumnType::Text, &[]).await.unwrap();
    }
    let wide: serde_json::Map<_, _> =
        (0..8).map(|number| (format!("text {number}"), json!("é".repeat(2_000)))).collect();
    for _ in 0..60 {
        create(&mut client, wide.clone().into()).await.unwrap();
    }
    let mut request = QueryRowsRequest { page_size: 500, ..QueryRowsRequest::default() };
    let (mut rows, mut pages) = (0, 0);
    loop {
        let page = client.query_rows(request.clone()).await.unwrap().into_inner();
        assert!(prost::Message::encoded_len(&page) < 4 << 20);
        (rows, pages) = (rows + page.rows.len(), pages + 1);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert!(rows == 60 && pages > 1, "{rows} rows on {pages} pages");
}
