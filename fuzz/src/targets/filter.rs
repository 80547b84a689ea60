//! Filters and cells of contacts: a letter for the column, one for the operator, one for the form of the value, and the
//! value.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::FutureExt;
use verigate::clock::{ManualClock, Timestamp};
use verigate::contacts::cell::Value;
use verigate::contacts::column::Kind;
use verigate::contacts::filter::{Filter, Operator};
use verigate::contacts::push::Queue;
use verigate::contacts::rows::NewRow;
use verigate::contacts::service::{Contacts, ContactsConfig};
use verigate::contacts::table::NewColumn;
use verigate::error::{Kind as Fault, Result};
use verigate::id::Id;
use verigate::messaging::holder::Ground;
use verigate::messaging::page::PageRequest;
use verigate::random::OsRandom;
use verigate::store::keys::Keys;
use verigate::tenant::Tenant;

use crate::support::store_model::ModelStore;
use crate::targets::choose;

const COLUMNS: [(&str, Kind); 8] = [
    ("a_text", Kind::Text),
    ("a_number", Kind::Number),
    ("a_date", Kind::Date),
    ("a_phone", Kind::PhoneNumber),
    ("a_email", Kind::Email),
    ("a_url", Kind::Url),
    ("a_select", Kind::Select),
    ("a_multi", Kind::MultiSelect),
];

const OPERATORS: [Operator; 8] = [
    Operator::Equals,
    Operator::NotEquals,
    Operator::Contains,
    Operator::StartsWith,
    Operator::GreaterThan,
    Operator::LessThan,
    Operator::IsEmpty,
    Operator::IsNotEmpty,
];

/// Contacts in memory, with one row that inputs write to.
struct Book {
    contacts: Contacts,
    tenant: Tenant,
    written: Id,
}

thread_local! {
    static BOOK: RefCell<Option<Book>> = const { RefCell::new(None) };
}

pub(crate) fn run(data: &[u8]) {
    let Some((column, rest)) = choose(data, COLUMNS.len()) else { return };
    let Some((operator, rest)) = choose(rest, OPERATORS.len()) else { return };
    let Some((form, rest)) = choose(rest, 3) else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let value = match form {
        0 => Value::Text(text.to_owned()),
        1 => Value::Number(text.trim().parse().unwrap_or(f64::NAN)),
        _ => Value::List(text.split(',').map(str::to_owned).collect()),
    };
    let (column, operator) = (COLUMNS[column].0, OPERATORS[operator]);
    BOOK.with_borrow_mut(|book| {
        let book = book.get_or_insert_with(Book::new);
        book.asked(column, operator, &value);
        book.wrote(column, value);
    });
}

/// Nothing here waits: the store is in memory.
fn now<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

impl Book {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_795_324_560_125)));
        let store = Arc::new(ModelStore::new(Arc::clone(&clock) as _));
        let random = Arc::new(OsRandom);
        let keys = Keys::open(&*store, &*random).now_or_never().unwrap().unwrap();
        let ground = Ground { store, keys, clock, random };
        let config = ContactsConfig { max_rows: 100, push: Vec::new() };
        let contacts = Contacts::new(ground, &config, Arc::new(Queue::new(Vec::new())));
        let tenant = Tenant {
            name: "acme".parse().unwrap(),
            default_country: "MY".parse().ok(),
            brand: None,
            sender: None,
            balance_of: None,
            may_return_code: false,
            may_administer: false,
        };
        let written = now(async {
            for (name, kind) in COLUMNS {
                let options =
                    if kind.selects() { ["red", "blue", "Grün"].map(str::to_owned).to_vec() } else { Vec::new() };
                contacts.add_column(&tenant.name, &NewColumn { name: name.to_owned(), kind, options }).await.unwrap();
            }
            let rows: [&[(&str, Value)]; 3] = [
                &[
                    ("a_text", Value::Text("Straße".into())),
                    ("a_number", Value::Number(-0.5)),
                    ("a_multi", Value::List(vec!["red".into()])),
                ],
                &[("a_phone", Value::Text("+60123456789".into())), ("a_date", Value::Text("2026-11-28".into()))],
                &[("a_email", Value::Text("ann@example.com".into())), ("a_select", Value::Text("blue".into()))],
            ];
            for row in rows {
                let values = row.iter().map(|(name, value)| ((*name).to_owned(), Some(value.clone()))).collect();
                contacts.create_row(&tenant, NewRow { values, ..NewRow::default() }).await.unwrap();
            }
            contacts.create_row(&tenant, NewRow::default()).await.unwrap().id
        });
        Self { contacts, tenant, written }
    }

    fn query(&self, column: &str, operator: Operator, value: Option<&Value>) -> Result<BTreeSet<Id>> {
        let filters = [Filter { column: column.to_owned(), operator, value: value.cloned() }];
        now(async {
            let page = self.contacts.query(&self.tenant, &filters, &PageRequest::default()).await?;
            let numbered = self.contacts.numbered(&self.tenant, &filters, 0, 100).await?;
            assert_eq!(numbered.total, page.items.len(), "two ways to ask");
            Ok(page.items.iter().map(|row| row.id).collect())
        })
    }

    /// A filter is answered or refused by its field, and with its contrary it divides all rows.
    fn asked(&self, column: &str, operator: Operator, value: &Value) {
        let value = (!matches!(operator, Operator::IsEmpty | Operator::IsNotEmpty)).then_some(value);
        let found = self.query(column, operator, value);
        if let Err(error) = &found {
            assert_eq!(error.kind(), Fault::Invalid, "{error:?}");
            assert!(!error.violations().is_empty());
        }
        let contrary = match operator {
            Operator::Equals => Operator::NotEquals,
            Operator::NotEquals => Operator::Equals,
            Operator::IsEmpty => Operator::IsNotEmpty,
            Operator::IsNotEmpty => Operator::IsEmpty,
            _ => return,
        };
        let others = self.query(column, contrary, value);
        assert_eq!(found.is_ok(), others.is_ok(), "one of two contraries is refused");
        if let (Ok(found), Ok(others)) = (found, others) {
            assert!(found.is_disjoint(&others), "both");
            assert_eq!(found.len() + others.len(), 4, "neither");
        }
    }

    /// A value that is taken reads back in a form that is taken again as itself, and its row is found by it.
    fn wrote(&self, column: &str, value: Value) {
        let write = |value: Value| {
            let values = [(column.to_owned(), Some(value))].into();
            now(self.contacts.update_row(&self.tenant, self.written, &values))
        };
        let row = match write(value) {
            Ok(row) => row,
            Err(error) => return assert_eq!(error.kind(), Fault::Invalid, "{error:?}"),
        };
        let Some(read) = row.columns.into_values().next() else { return };
        let again = write(read.clone()).expect("what we show is taken").columns.into_values().next();
        assert!(again == Some(read.clone()), "a value that changes by being read: {read:?}");
        assert!(
            self.query(column, Operator::Equals, Some(&read)).unwrap().contains(&self.written),
            "not found by itself"
        );
        now(self.contacts.update_row(&self.tenant, self.written, &[(column.to_owned(), None)].into())).unwrap();
    }
}
