//! What dialects ask of contacts beyond the calls of the contract: saving by number, numbered pages, columns made ready.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use verigate::contacts::cell::{Value, Values};
use verigate::contacts::column::Kind;
use verigate::contacts::filter::{Filter, Operator};
use verigate::contacts::row::RowView;
use verigate::contacts::rows::NewRow;
use verigate::contacts::save::Save;
use verigate::contacts::table::{NewColumn, Table};
use verigate::error::{Kind as ErrorKind, Reason};

use crate::contacts::house::House;

fn text(text: &str) -> Option<Value> {
    Some(Value::Text(text.to_owned()))
}

fn values(of: &[(&str, &str)]) -> Values {
    of.iter().map(|(column, cell)| ((*column).to_owned(), text(cell))).collect()
}

fn options(of: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
    of.iter()
        .map(|(column, options)| ((*column).to_owned(), options.iter().map(ToString::to_string).collect()))
        .collect()
}

fn cell<'a>(table: &Table, row: &'a RowView, column: &str) -> Option<&'a Value> {
    row.columns.get(&table.column(column).unwrap().id)
}

fn lists(of: &[&str]) -> NewColumn {
    NewColumn {
        name: "lists".to_owned(),
        kind: Kind::MultiSelect,
        options: of.iter().map(ToString::to_string).collect(),
    }
}

#[tokio::test]
async fn contacts_are_saved_by_their_number() {
    let House { contacts, tenant, .. } = &House::new(100, &[]).await;
    let table = contacts.prepare(&tenant.name, &[lists(&["News", "VIP"])]).await.unwrap();
    let ann = |name: &str| Save {
        values: values(&[("phone_number", "012-345 6789"), ("first_name", name)]),
        add: options(&[("lists", &["VIP"])]),
        ..Save::default()
    };
    let nobody = Save { values: values(&[("first_name", "Nobody")]), ..Save::default() };
    let wrong = Save { values: values(&[("phone_number", "+60123456788"), ("email", "x")]), ..Save::default() };
    let saves = [ann("Ann"), nobody, wrong, ann("Anna")];
    let saved = contacts.save_rows(tenant, "phone_number", &saves, true).await.unwrap();
    let (first, last) = (saved[0].as_ref().unwrap(), saved[3].as_ref().unwrap());
    assert!(first.created && !last.created, "the second of the same number is the same contact");
    assert_eq!(first.row.id, last.row.id);
    assert_eq!(cell(&table, &last.row, "first_name"), text("Anna").as_ref());
    let field = |at: usize| saved[at].as_ref().unwrap_err().violations()[0].field.clone();
    assert_eq!((field(1), field(2)), ("columns.phone_number".to_owned(), "columns.email".to_owned()));

    // Without overwriting, what is there stays, but lists are added and removed.
    let change = Save { add: options(&[("lists", &["News"])]), remove: options(&[("lists", &["VIP"])]), ..ann("Eve") };
    let saved = contacts.save_rows(tenant, "phone_number", &[change], false).await.unwrap();
    let row = &saved[0].as_ref().unwrap().row;
    assert_eq!(cell(&table, row, "first_name"), text("Anna").as_ref());
    assert_eq!(cell(&table, row, "lists"), Some(&Value::List(vec!["News".to_owned()])));
    assert_eq!(contacts.table(&tenant.name).await.unwrap().rows(), 1);

    let unknown = contacts.save_rows(tenant, "nothing", &[ann("Ann")], true).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
    let many = vec![ann("Ann"); 501];
    assert_eq!(contacts.save_rows(tenant, "phone_number", &many, true).await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn a_number_saved_many_times_at_once_is_one_contact() {
    let House { contacts, tenant, .. } = &House::new(100, &[]).await;
    let race = (0..16).map(|_| {
        let (contacts, tenant) = (Arc::clone(contacts), tenant.clone());
        tokio::spawn(async move {
            let save = Save { values: values(&[("phone_number", "+60123456789")]), ..Save::default() };
            contacts.save_rows(&tenant, "phone_number", &[save], true).await.unwrap().remove(0).unwrap().created
        })
    });
    let created = join_all(race).await.into_iter().filter(|created| *created.as_ref().unwrap());
    assert_eq!((created.count(), contacts.table(&tenant.name).await.unwrap().rows()), (1, 1));
}

#[tokio::test]
async fn saving_stops_at_the_limit_and_tells_each_contact_so() {
    let House { contacts, tenant, .. } = &House::new(2, &[]).await;
    let saves: Vec<_> = (0..4)
        .map(|number| Save { values: values(&[("phone_number", &format!("+6012345678{number}"))]), ..Save::default() })
        .collect();
    let saved = contacts.save_rows(tenant, "phone_number", &saves, true).await.unwrap();
    let reasons: Vec<_> = saved.iter().map(|saved| saved.as_ref().err().map(|error| error.reason())).collect();
    assert_eq!(reasons, [None, None, Some(Reason::ContactTableFull), Some(Reason::ContactTableFull)]);
}

#[tokio::test]
async fn pages_can_be_asked_for_by_number() {
    let House { contacts, tenant, .. } = &House::new(100, &[]).await;
    for number in 0..7 {
        let name = if number % 2 == 0 { "even" } else { "odd" };
        let new = NewRow { values: values(&[("first_name", name)]), ..NewRow::default() };
        contacts.create_row(tenant, new).await.unwrap();
    }
    let even = Filter { column: "first_name".to_owned(), operator: Operator::Equals, value: text("EVEN") };
    let filters = [even];
    let mut ids = Vec::new();
    for (from, count) in [(0, 3), (3, 1), (6, 0)] {
        let page = contacts.numbered(tenant, &filters, from, 3).await.unwrap();
        assert_eq!((page.total, page.rows.len()), (4, count));
        ids.extend(page.rows.into_iter().map(|row| row.id));
    }
    ids.dedup();
    assert_eq!(ids.len(), 4);
    assert!(ids.is_sorted_by(|before, after| before > after), "newest first");
}

#[tokio::test]
async fn columns_are_made_ready_without_touching_those_that_are_there() {
    let House { contacts, tenant, .. } = &House::new(100, &[]).await;
    let before = contacts.table(&tenant.name).await.unwrap();
    let column = |name: &str, kind| NewColumn { name: name.to_owned(), kind, options: Vec::new() };
    let wanted = [column("param1", Kind::Text), column("email", Kind::Text), lists(&["News", "News", "VIP"])];
    let table = contacts.prepare(&tenant.name, &wanted).await.unwrap();
    assert_eq!(table.column("param1").map(|column| column.kind), Some(Kind::Text));
    assert_eq!(table.column("email"), before.column("email"));
    assert_eq!(table.column("lists").unwrap().options().collect::<Vec<_>>(), ["News", "VIP"]);
    assert_eq!(contacts.prepare(&tenant.name, &wanted).await.unwrap(), table, "nothing is left to do");
    let refused = contacts.prepare(&tenant.name, &[column("new", Kind::Text), column(" ", Kind::Text)]).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(contacts.table(&tenant.name).await.unwrap(), table, "all or nothing");
}

/// In one process changes take turns; between processes the store's conditions hold.
#[tokio::test]
async fn two_processes_on_one_store_keep_one_count() {
    let house = House::new(48, &[]).await;
    let other = house.another_process(48);
    let race = (0..64).map(|number| {
        let contacts = Arc::clone(if number % 2 == 0 { &house.contacts } else { &other });
        let tenant = house.tenant.clone();
        tokio::spawn(async move { contacts.create_row(&tenant, NewRow::default()).await.is_ok() })
    });
    let created = join_all(race).await.into_iter().filter(|created| *created.as_ref().unwrap()).count();
    let rows = house.contacts.numbered(&house.tenant, &[], 0, 500).await.unwrap().rows.len();
    let counted = house.contacts.table(&house.tenant.name).await.unwrap().rows();
    assert_eq!((created, rows, counted), (48, 48, 48));
}
