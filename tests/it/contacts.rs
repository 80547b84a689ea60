//! The contact list: typed cells, columns that change under rows, filters, pages, and counts that stay right.

mod filters;
mod house;
mod push;
mod save;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use futures_util::future::join_all;
use prost_reflect::{DescriptorPool, DynamicMessage};
use prost_types::value::Kind;
use serde_json::{Value, json};
use tonic::{Code, Status};
use verigate::proto::FILE_DESCRIPTOR_SET;
use verigate::proto::contacts::v1::{
    AddColumnRequest, Column, ColumnType, CreateRowRequest, DeleteColumnRequest, DeleteRowRequest, GetRowRequest,
    GetTableRequest, QueryRowsRequest, Row, RowFilter, Table, UpdateColumnRequest, UpdateRowRequest,
};

use crate::support::gateway::{CONFIG, Contacts, Gateway, reason, violations, wrong_fields};
use crate::support::log::Log;

const OTHER: &str = "other.other-secret-of-some-length";

// === helpers ===

/// A cell or a filter's value, from plain JSON.
fn value(plain: &Value) -> prost_types::Value {
    let kind = match plain {
        Value::Null => Kind::NullValue(0),
        Value::Bool(it) => Kind::BoolValue(*it),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap()),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(list) => Kind::ListValue(prost_types::ListValue { values: list.iter().map(value).collect() }),
        Value::Object(fields) => Kind::StructValue(prost_types::Struct {
            fields: fields.iter().map(|(name, field)| (name.clone(), value(field))).collect(),
        }),
    };
    prost_types::Value { kind: Some(kind) }
}

fn plain(value: &prost_types::Value) -> Value {
    match value.kind.as_ref().unwrap() {
        Kind::NumberValue(number) => json!(number),
        Kind::StringValue(text) => json!(text),
        Kind::ListValue(list) => list.values.iter().map(plain).collect(),
        other => panic!("no cell holds {other:?}"),
    }
}

fn cells(plain: &Value) -> HashMap<String, prost_types::Value> {
    plain.as_object().unwrap().iter().map(|(column, cell)| (column.clone(), value(cell))).collect()
}

async fn table(client: &mut Contacts) -> Table {
    client.get_table(GetTableRequest {}).await.unwrap().into_inner().table.unwrap()
}

async fn create(client: &mut Contacts, plain: Value) -> Result<Row, Status> {
    let request = CreateRowRequest { columns: cells(&plain), idempotency_key: String::new() };
    client.create_row(request).await.map(|answer| answer.into_inner().row.unwrap())
}

async fn keyed(client: &mut Contacts, plain: Value, key: &str) -> Result<Row, Status> {
    let request = CreateRowRequest { columns: cells(&plain), idempotency_key: key.to_owned() };
    client.create_row(request).await.map(|answer| answer.into_inner().row.unwrap())
}

async fn get(client: &mut Contacts, id: &str) -> Result<Row, Status> {
    let answer = client.get_row(GetRowRequest { id: id.to_owned() }).await;
    answer.map(|answer| answer.into_inner().row.unwrap())
}

async fn update(client: &mut Contacts, id: &str, plain: Value) -> Result<Row, Status> {
    let request = UpdateRowRequest { id: id.to_owned(), columns: cells(&plain) };
    client.update_row(request).await.map(|answer| answer.into_inner().row.unwrap())
}

async fn delete(client: &mut Contacts, id: &str) -> Result<(), Status> {
    client.delete_row(DeleteRowRequest { id: id.to_owned() }).await.map(drop)
}

async fn query(client: &mut Contacts, filters: Vec<RowFilter>) -> Result<Vec<Row>, Status> {
    let request = QueryRowsRequest { page_size: 500, filters, ..QueryRowsRequest::default() };
    client.query_rows(request).await.map(|answer| answer.into_inner().rows)
}

async fn add_column(
    client: &mut Contacts,
    name: &str,
    column_type: ColumnType,
    options: &[&str],
) -> Result<Column, Status> {
    let options = options.iter().map(ToString::to_string).collect();
    let request = AddColumnRequest { name: name.to_owned(), r#type: column_type.into(), options };
    client.add_column(request).await.map(|answer| answer.into_inner().column.unwrap())
}

async fn update_column(client: &mut Contacts, change: UpdateColumnRequest) -> Result<Column, Status> {
    client.update_column(change).await.map(|answer| answer.into_inner().column.unwrap())
}

fn change_of(column: &str) -> UpdateColumnRequest {
    UpdateColumnRequest { column_id: column.to_owned(), ..UpdateColumnRequest::default() }
}

/// The cells of a row by the names of their columns.
fn named(table: &Table, row: &Row) -> Value {
    let name = |id: &str| table.columns.iter().find(|column| column.id == id).unwrap().name.clone();
    row.columns.iter().map(|(id, cell)| (name(id), plain(cell))).collect::<serde_json::Map<_, _>>().into()
}

/// Names of columns, in their order.
fn names(table: &Table) -> Vec<&str> {
    table.columns.iter().map(|column| column.name.as_str()).collect()
}

/// Columns of every type, beside those that are there from the start.
async fn every_type(client: &mut Contacts) {
    for (name, column_type, options) in [
        ("note", ColumnType::Text, &[][..]),
        ("age", ColumnType::Number, &[]),
        ("birthday", ColumnType::Date, &[]),
        ("phone", ColumnType::PhoneNumber, &[]),
        ("mail", ColumnType::Email, &[]),
        ("site", ColumnType::Url, &[]),
        ("plan", ColumnType::Select, &["free", "pro"]),
        ("colours", ColumnType::MultiSelect, &["red", "green", "blue"]),
    ] {
        add_column(client, name, column_type, options).await.unwrap();
    }
}

// === the table ===

#[tokio::test]
async fn a_table_is_there_from_the_first_use_and_stays_the_same() {
    let gateway = Gateway::start().await;
    let client = gateway.contacts().await;
    // By whichever call it is first used, in parallel too.
    let tables = join_all((0..8).map(|_| {
        let mut client = client.clone();
        async move { table(&mut client).await }
    }))
    .await;
    let first = &tables[0];
    assert!(tables.iter().all(|table| table == first), "{tables:?}");
    assert_eq!(names(first), ["phone_number", "first_name", "last_name", "email", "lists", "tags"]);
    assert_eq!(first.row_count, 0);
    assert!(first.columns.iter().all(|column| column.id.len() == 16), "ids are opaque");
    let mut other = gateway.contacts_as(OTHER).await;
    create(&mut other, json!({"first_name": "Ann"})).await.unwrap();
    let others = table(&mut other).await;
    assert_eq!((others.row_count, names(&others)), (1, names(first)));
    let ids = |table: &Table| table.columns.iter().map(|column| column.id.clone()).collect::<BTreeSet<_>>();
    assert!(ids(first).is_disjoint(&ids(&others)), "each tenant has columns of its own");
}

#[tokio::test]
async fn columns_are_added_renamed_and_deleted_under_their_rows() {
    let gateway = Gateway::start().await;
    let mut client = gateway.contacts().await;
    let before = table(&mut client).await;
    gateway.clock.advance(Duration::from_secs(5));
    let plan = add_column(&mut client, "plan", ColumnType::Select, &["free", "pro", "old"]).await.unwrap();
    assert_eq!((plan.r#type(), &*plan.options), (ColumnType::Select, &["free", "pro", "old"].map(str::to_owned)[..]));
    let after = table(&mut client).await;
    assert_eq!(after.columns.last(), Some(&plan));
    assert_eq!(after.create_time, before.create_time);
    assert!(after.update_time.unwrap().seconds - before.update_time.unwrap().seconds == 5);

    let pro = create(&mut client, json!({"plan": "pro", "first_name": "Ann"})).await.unwrap();
    let old = create(&mut client, json!({"plan": "old", "first_name": "Bob"})).await.unwrap();
    let change = UpdateColumnRequest {
        name: "tariff".to_owned(),
        rename_options: [("pro".to_owned(), "business".to_owned())].into(),
        remove_options: vec!["old".to_owned(), "never there".to_owned()],
        add_options: vec!["team".to_owned(), "free".to_owned()],
        ..change_of("plan")
    };
    let tariff = update_column(&mut client, change).await.unwrap();
    assert_eq!((&tariff.id, &*tariff.name), (&plan.id, "tariff"));
    assert_eq!(tariff.options, ["free", "business", "team"]);
    let now = table(&mut client).await;
    let pro = get(&mut client, &pro.id).await.unwrap();
    assert_eq!(named(&now, &pro), json!({"tariff": "business", "first_name": "Ann"}), "cells keep a renamed option");
    assert_eq!(named(&now, &get(&mut client, &old.id).await.unwrap()), json!({"first_name": "Bob"}));
    update_column(&mut client, UpdateColumnRequest { add_options: vec!["old".to_owned()], ..change_of(&plan.id) })
        .await
        .unwrap();
    let bob = get(&mut client, &old.id).await.unwrap();
    assert_eq!(named(&now, &bob), json!({"first_name": "Bob"}), "an option of the same name is another");

    client.delete_column(DeleteColumnRequest { column_id: "tariff".to_owned() }).await.unwrap();
    let again = add_column(&mut client, "tariff", ColumnType::Text, &[]).await.unwrap();
    assert_ne!(again.id, plan.id);
    let ann = get(&mut client, &pro.id).await.unwrap();
    assert_eq!(named(&table(&mut client).await, &ann), json!({"first_name": "Ann"}));

    for gone in [plan.id.as_str(), "plan", "nothing"] {
        let refused = update_column(&mut client, change_of(gone)).await.unwrap_err();
        assert_eq!((refused.code(), &*reason(&refused)), (Code::NotFound, "CONTACT_COLUMN_NOT_FOUND"), "{gone}");
        let refused = client.delete_column(DeleteColumnRequest { column_id: gone.to_owned() }).await.unwrap_err();
        assert_eq!(reason(&refused), "CONTACT_COLUMN_NOT_FOUND");
    }
}

#[tokio::test]
async fn what_no_column_can_be_is_told_by_field() {
    let gateway = Gateway::start().await;
    let mut client = gateway.contacts().await;
    let many: Vec<_> = (0..501).map(|number| format!("option {number}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let long = "é".repeat(65);
    for (name, column_type, options, field, wanted) in [
        ("", ColumnType::Text, &[][..], "name", "1 to 64 characters"),
        (&*long, ColumnType::Text, &[], "name", "1 to 64 characters"),
        (" a", ColumnType::Text, &[], "name", "no blank at either end"),
        ("email", ColumnType::Text, &[], "name", "no other column"),
        ("0123456789abcdef", ColumnType::Text, &[], "name", "16 hexadecimal digits"),
        ("x", ColumnType::Unspecified, &[], "type", "must be a type"),
        ("x", ColumnType::Text, &["a"], "options", "TEXT has no options"),
        ("x", ColumnType::Select, &["a", "b", "a"], "options", "no two alike"),
        ("x", ColumnType::Select, &["a", ""], "options", "1 to 64 characters"),
        ("x", ColumnType::Select, &many, "options", "at most 500 options"),
    ] {
        let refused = add_column(&mut client, name, column_type, options).await.unwrap_err();
        let found = violations(&refused);
        assert!(found.len() == 1 && found[0].0 == field && found[0].1.contains(wanted), "{name} {found:?}");
    }
    add_column(&mut client, "plan", ColumnType::Select, &["free", "pro"]).await.unwrap();
    let rename = |old: &str, new: &str| [(old.to_owned(), new.to_owned())].into();
    let plan = || change_of("plan");
    for (change, field, wanted) in [
        (UpdateColumnRequest { name: "email".to_owned(), ..plan() }, "name", "no other column"),
        (UpdateColumnRequest { add_options: vec![long.clone()], ..plan() }, "add_options", "1 to 64"),
        (
            UpdateColumnRequest { rename_options: rename("gold", "x"), ..plan() },
            "rename_options",
            "that the column has",
        ),
        (UpdateColumnRequest { rename_options: rename("pro", "free"), ..plan() }, "rename_options", "no two"),
        (UpdateColumnRequest { rename_options: rename("pro", ""), ..plan() }, "rename_options", "1 to 64"),
        (UpdateColumnRequest { add_options: vec!["a".to_owned()], ..change_of("email") }, "add_options", "EMAIL"),
        (change_of(""), "column_id", "id or the name"),
    ] {
        let refused = update_column(&mut client, change.clone()).await.unwrap_err();
        let found = violations(&refused);
        assert!(found.len() == 1 && found[0].0 == field && found[0].1.contains(wanted), "{change:?} {found:?}");
    }
    let options: Vec<_> = table(&mut client).await.columns.pop().unwrap().options;
    assert_eq!(options, ["free", "pro"], "nothing was changed");
}

#[tokio::test]
async fn a_table_has_room_for_so_many_columns_and_options() {
    let gateway = Gateway::start().await;
    let mut client = gateway.contacts().await;
    let there = table(&mut client).await.columns.len();
    for number in there..64 {
        add_column(&mut client, &format!("column {number}"), ColumnType::Text, &[]).await.unwrap();
    }
    let refused = add_column(&mut client, "one more", ColumnType::Text, &[]).await.unwrap_err();
    assert_eq!(violations(&refused)[0].0, "name");
    assert!(violations(&refused)[0].1.contains("64 columns"), "{refused:?}");
    let wide = |from: usize, count: usize| (from..from + count).map(|it| format!("{it:0>64}")).collect::<Vec<_>>();
    let add = |column: &str, options| UpdateColumnRequest { add_options: options, ..change_of(column) };
    update_column(&mut client, add("lists", wide(0, 300))).await.unwrap();
    update_column(&mut client, add("tags", wide(300, 200))).await.unwrap();
    let refused = update_column(&mut client, add("tags", wide(500, 1))).await.unwrap_err();
    assert_eq!(wrong_fields(&refused), ["add_options"]);
    update_column(&mut client, add("tags", wide(300, 5))).await.unwrap();
    // As many as there may be, but of four bytes for each character.
    let fat = |from: usize, count: usize| (from..from + count).map(|it| format!("{it:🂡>64}")).collect::<Vec<_>>();
    client.delete_column(DeleteColumnRequest { column_id: "lists".to_owned() }).await.unwrap();
    let refused = update_column(&mut client, add("tags", fat(0, 300))).await.unwrap_err();
    assert_eq!((refused.code(), wrong_fields(&refused)), (Code::InvalidArgument, vec!["options".to_owned()]));
    assert_eq!(table(&mut client).await.columns.last().unwrap().name, "column 63", "it can still be read");
}

// === rows ===

#[tokio::test]
async fn each_type_of_cell_is_kept_in_its_canonical_form() {
    let gateway = Gateway::start().await;
    let mut client = gateway.contacts().await;
    every_type(&mut client).await;
    let written = json!({
        "note": "two\nlines", "age": 41.5, "birthday": "1985-02-28", "phone": "012-345 6789", "mail": "Ann@EXAMPLE.com",
        "site": "https://example.com/ann", "plan": "pro", "colours": ["blue", "red", "blue"],
    });
    let kept = json!({
        "note": "two\nlines", "age": 41.5, "birthday": "1985-02-28", "phone": "+60123456789", "mail": "Ann@example.com",
        "site": "https://example.com/ann", "plan": "pro", "colours": ["red", "blue"],
    });
    let row = create(&mut client, written).await.unwrap();
    let table = table(&mut client).await;
    assert_eq!(named(&table, &row), kept);
    assert_eq!(get(&mut client, &row.id).await.unwrap(), row);
    // What was given is a cell as it can be given again, and ids do as well as names.
    let same = UpdateRowRequest { id: row.id.clone(), columns: row.columns.clone() };
    let same = client.update_row(same).await.unwrap().into_inner().row.unwrap();
    assert_eq!(same.columns, row.columns);
    let moment = update(&mut client, &row.id, json!({"birthday": "1985-02-28T23:30:00-01:00"})).await.unwrap();
    assert_eq!(named(&table, &moment)["birthday"], "1985-03-01T00:30:00Z");
}

#[tokio::test]
async fn a_cell_that_is_not_of_its_type_is_told_by_its_column() {
    let gateway = Gateway::start().await;
    let mut client = gateway.contacts().await;
    every_type(&mut client).await;
    let row = create(&mut client, json!({"note": "as it was"})).await.unwrap();
    let long = "x".repeat(2_001);
    for (column, cell, wanted) in [
        ("note", json!(7), "must be a text"),
        ("note", json!(long), "at most 2000 characters"),
        ("note", json!("a\u{0}"), "NUL"),
        ("note", json!(true), "must be a text, a number, a list"),
        ("note", json!({"a": 1}), "must be a text, a number, a list"),
        ("age", json!("41"), "finite number"),
        ("birthday", json!("28.02.1985"), "1985"),
        ("birthday", json!("1985-02-29"), "must be a date"),
        ("phone", json!("12"), "too short"),
        ("phone", json!(60_123_456_789_u64), "must be a text"),
        ("mail", json!("ann at example"), "plain address"),
        ("site", json!("javascript:alert(1)"), "http or https"),
        ("plan", json!("gold"), "one of the column's options"),
        ("plan", json!(["pro"]), "must be a text"),
        ("colours", json!("red"), "must be a list"),
        ("colours", json!(["red", "pink"]), "one of the column's options"),
        ("colours", json!([1]), "must be a text, a number, a list of texts"),
        ("nothing", json!("x"), "no column of the table"),
    ] {
        let wanted = if column == "birthday" && wanted == "1985" { "must be a date" } else { wanted };
        for refused in [
            create(&mut client, json!({column: cell})).await.unwrap_err(),
            update(&mut client, &row.id, json!({column: cell, "first_name": "Eve"})).await.unwrap_err(),
        ] {
            assert_eq!((refused.code(), &*reason(&refused)), (Code::InvalidArgument, "INVALID_FIELD"));
            let found = violations(&refused);
            assert!(found.len() == 1 && found[0].0 == format!("columns.{column}"), "{found:?}");
            assert!(found[0].1.contains(wanted), "{found:?}");
            assert!(cell.as_str().is_none_or(|cell| !refused.message().contains(cell) || cell == "x"), "{refused:?}");
        }
    }
    let nan = prost_types::Value { kind: Some(Kind::NumberValue(f64::NAN)) };
    let request = CreateRowRequest { columns: [("age".to_owned(), nan)].into(), ..CreateRowRequest::default() };
    assert_eq!(wrong_fields(&client.create_row(request).await.unwrap_err()), ["columns.age"]);
    let table = table(&mut client).await;
    assert_eq!(table.row_count, 1);
    assert_eq!(get(&mut client, &row.id).await.unwrap(), row, "a refused change changes nothing");

    let all = json!({"age": "x", "mail": "x", "plan": "x"});
    let mut fields = wrong_fields(&create(&mut client, all).await.unwrap_err());
    fields.sort();
    assert_eq!(fields, ["columns.age", "columns.mail", "columns.plan"], "all of it is told at once");
    let note = &table.columns.iter().find(|column| column.name == "note").unwrap().id;
    let twice = create(&mut client, json!({"note": "a", note: "b"})).await.unwrap_err();
    assert!(violations(&twice)[0].1.contains("twice"), "{twice:?}");
}

/// In proto3 JSON, which the native JSON surface and many tools speak, a cell is what one would write.
#[test]
fn cells_are_plain_values_in_json() {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let request = pool.get_message_by_name("verigate.contacts.v1.CreateRowRequest").unwrap();
    let written = json!({"columns": {"a": "Ann", "b": 41.5, "c": ["red", "blue"], "d": null}});
    let read = DynamicMessage::deserialize(request, written.clone()).unwrap();
    let request: CreateRowRequest = read.transcode_to().unwrap();
    assert_eq!(request.columns, cells(&written["columns"]));

    let row = Row { columns: cells(&json!({"a": "Ann", "b": 41.5, "c": ["red"]})), ..Row::default() };
    let mut shown = DynamicMessage::new(pool.get_message_by_name("verigate.contacts.v1.Row").unwrap());
    shown.transcode_from(&row).unwrap();
    let shown = serde_json::to_value(&shown).unwrap();
    assert_eq!(shown, json!({"columns": {"a": "Ann", "b": 41.5, "c": ["red"]}}));
}

#[tokio::test]
async fn an_update_changes_the_named_cells_and_no_others() {
    let gateway = Gateway::start().await;
    let mut client = gateway.contacts().await;
    let row = create(&mut client, json!({"first_name": "Ann", "last_name": "Lee", "email": "ann@example.com"}))
        .await
        .unwrap();
    let table = table(&mut client).await;
    gateway.clock.advance(Duration::from_secs(9));
    let changed = update(&mut client, &row.id, json!({"last_name": "Tan", "email": null})).await.unwrap();
    assert_eq!(named(&table, &changed), json!({"first_name": "Ann", "last_name": "Tan"}));
    assert_eq!((changed.id.as_str(), changed.create_time), (row.id.as_str(), row.create_time));
    assert_eq!(changed.update_time.unwrap().seconds - row.update_time.unwrap().seconds, 9);
    for empty in [json!(""), json!([]), json!(null)] {
        update(&mut client, &row.id, json!({"first_name": "Ann"})).await.unwrap();
        let changed = update(&mut client, &row.id, json!({"first_name": empty})).await.unwrap();
        assert_eq!(named(&table, &changed), json!({"last_name": "Tan"}), "{empty}");
    }
    let nothing = prost_types::Value { kind: None };
    let request = UpdateRowRequest { id: row.id.clone(), columns: [("last_name".to_owned(), nothing)].into() };
    assert!(client.update_row(request).await.unwrap().into_inner().row.unwrap().columns.is_empty());
    update(&mut client, &row.id, json!({"last_name": "Tan"})).await.unwrap();
    let same = update(&mut client, &row.id, json!({})).await.unwrap();
    assert_eq!(named(&table, &same), json!({"last_name": "Tan"}));
}

#[tokio::test]
async fn a_deleted_row_is_gone_and_no_longer_counted() {
    let gateway = Gateway::start().await;
    let mut client = gateway.contacts().await;
    let kept = create(&mut client, json!({"first_name": "Ann"})).await.unwrap();
    let gone = create(&mut client, json!({"first_name": "Bob"})).await.unwrap();
    delete(&mut client, &gone.id).await.unwrap();
    for refused in [
        delete(&mut client, &gone.id).await.unwrap_err(),
        get(&mut client, &gone.id).await.unwrap_err(),
        update(&mut client, &gone.id, json!({"first_name": "Eve"})).await.unwrap_err(),
    ] {
        assert_eq!((refused.code(), &*reason(&refused)), (Code::NotFound, "CONTACT_ROW_NOT_FOUND"));
    }
    assert_eq!(query(&mut client, vec![]).await.unwrap(), [kept]);
    assert_eq!(table(&mut client).await.row_count, 1);
    for call in ["", "x", "00000000-0000-8000-8000-00000000000G"] {
        assert_eq!(wrong_fields(&get(&mut client, call).await.unwrap_err()), ["id"]);
        assert_eq!(wrong_fields(&delete(&mut client, call).await.unwrap_err()), ["id"]);
        assert_eq!(wrong_fields(&update(&mut client, call, json!({})).await.unwrap_err()), ["id"]);
    }
}

#[tokio::test]
async fn another_tenants_row_is_as_unknown_as_any() {
    let gateway = Gateway::start().await;
    let mut acme = gateway.contacts().await;
    let mut other = gateway.contacts_as(OTHER).await;
    let row = create(&mut acme, json!({"first_name": "Ann"})).await.unwrap();
    let theirs = create(&mut other, json!({"first_name": "Bob"})).await.unwrap();
    // As well formed as any, and unknown.
    let (head, last) = row.id.split_at(row.id.len() - 1);
    let unknown = format!("{head}{}", if last == "0" { "1" } else { "0" });
    let told = |status: Status| (status.code() as i32, status.message().to_owned(), status.details().to_vec());
    let mut refusals = Vec::new();
    for id in [&row.id, &unknown] {
        refusals.push([
            told(get(&mut other, id).await.unwrap_err()),
            told(update(&mut other, id, json!({"first_name": "Eve"})).await.unwrap_err()),
            told(delete(&mut other, id).await.unwrap_err()),
        ]);
    }
    assert_eq!(refusals[0], refusals[1]);
    assert_eq!(query(&mut other, vec![]).await.unwrap(), [theirs]);
    assert_eq!(query(&mut acme, vec![]).await.unwrap().first(), Some(&row));
    // Nor do columns cross.
    let column = row.columns.keys().next().unwrap();
    assert_eq!(
        wrong_fields(&create(&mut other, json!({column: "x"})).await.unwrap_err()),
        [format!("columns.{column}")]
    );
    let request = QueryRowsRequest { page_size: 1, ..QueryRowsRequest::default() };
    create(&mut acme, json!({})).await.unwrap();
    let token = acme.query_rows(request.clone()).await.unwrap().into_inner().next_page_token;
    let stolen = other.query_rows(QueryRowsRequest { page_token: token, ..request }).await.unwrap_err();
    assert_eq!(wrong_fields(&stolen), ["page_token"]);
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let gateway = Gateway::start().await;
    let mut client = gateway.contacts().await;
    every_type(&mut client).await;
    let mut rows = Vec::new();
    for number in 0..5 {
        gateway.clock.advance(Duration::from_millis(1));
        let row = json!({"age": number, "phone": format!("+6012345678{number}"), "colours": ["red"]});
        rows.insert(0, create(&mut client, row).await.unwrap());
    }
    delete(&mut client, &rows.pop().unwrap().id).await.unwrap();
    let before = table(&mut client).await;
    let gateway = gateway.restart().await;
    let mut client = gateway.contacts().await;
    assert_eq!(table(&mut client).await, before);
    assert_eq!(query(&mut client, vec![]).await.unwrap(), rows);
}

// === limits ===

#[tokio::test]
async fn a_tenant_has_as_many_rows_as_are_allowed_and_no_more() {
    let gateway = Gateway::start_with(&format!("{CONFIG}\n[contacts]\nmax_rows = 3\n")).await;
    let mut client = gateway.contacts().await;
    let mut ids = Vec::new();
    for number in 0..3 {
        ids.push(create(&mut client, json!({"first_name": format!("{number}")})).await.unwrap().id);
    }
    for key in ["", "k"] {
        let full = keyed(&mut client, json!({"first_name": "one more"}), key).await.unwrap_err();
        assert_eq!((full.code(), &*reason(&full)), (Code::FailedPrecondition, "CONTACT_TABLE_FULL"));
    }
    create(&mut gateway.contacts_as(OTHER).await, json!({})).await.unwrap();
    update(&mut client, &ids[0], json!({"first_name": "still"})).await.unwrap();
    delete(&mut client, &ids[1]).await.unwrap();
    // The refusal freed its key.
    keyed(&mut client, json!({"first_name": "one more"}), "k").await.unwrap();
    assert_eq!(create(&mut client, json!({})).await.unwrap_err().code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn a_row_and_what_is_said_about_it_stay_small() {
    let gateway = Gateway::start().await;
    let mut client = gateway.contacts().await;
    for number in 0..20 {
        add_column(&mut client, &format!("text {number}"), ColumnType::Text, &[]).await.unwrap();
    }
    let long = "é".repeat(2_000);
    let wide = |count: usize| -> Value {
        (0..count).map(|number| (format!("text {number}"), json!(long))).collect::<serde_json::Map<_, _>>().into()
    };
    let row = create(&mut client, wide(8)).await.unwrap();
    let refused = create(&mut client, wide(9)).await.unwrap_err();
    assert_eq!(wrong_fields(&refused), ["columns"]);
    let refused = update(&mut client, &row.id, json!({"text 8": long})).await.unwrap_err();
    assert_eq!(wrong_fields(&refused), ["columns"]);

    let unknown = |count: usize, name: &str| -> Value {
        let named = (0..count).map(|number| (format!("{name}{number}"), json!("x")));
        named.collect::<serde_json::Map<_, _>>().into()
    };
    let refused = create(&mut client, unknown(65, "no column ")).await.unwrap_err();
    assert_eq!(wrong_fields(&refused), ["columns"]);
    let refused = create(&mut client, unknown(64, &"x".repeat(10_000))).await.unwrap_err();
    let fields = wrong_fields(&refused);
    assert_eq!(fields.len(), 16, "only so many are told");
    assert!(fields.iter().all(|field| field.len() < 100), "{fields:?}");
    assert_eq!(table(&mut client).await.row_count, 1);
}

// === idempotency ===

#[tokio::test]
async fn a_create_that_is_repeated_makes_one_row() {
    let gateway = Gateway::start().await;
    let mut client = gateway.contacts().await;
    let ann = || json!({"first_name": "Ann", "lists": null});
    let first = keyed(&mut client, ann(), "k1").await.unwrap();
    assert_eq!(keyed(&mut client, ann(), "k1").await.unwrap(), first);
    let changed = update(&mut client, &first.id, json!({"last_name": "Lee"})).await.unwrap();
    let gateway = gateway.restart().await;
    let mut client = gateway.contacts().await;
    assert_eq!(keyed(&mut client, ann(), "k1").await.unwrap(), changed, "as it is now");

    let other = keyed(&mut client, json!({"first_name": "Bob"}), "k1").await.unwrap_err();
    assert_eq!((other.code(), &*reason(&other)), (Code::FailedPrecondition, "IDEMPOTENCY_MISMATCH"));
    let mut stranger = gateway.contacts_as(OTHER).await;
    assert_ne!(keyed(&mut stranger, ann(), "k1").await.unwrap().id, first.id);
    for bad in [" ", "ä", &"k".repeat(129)] {
        let refused = keyed(&mut client, json!({"first_name": 1}), bad).await.unwrap_err();
        assert_eq!(wrong_fields(&refused), ["columns.first_name", "idempotency_key"]);
    }

    let twins = join_all((0..32).map(|_| {
        let mut client = client.clone();
        async move { keyed(&mut client, json!({"first_name": "Cid"}), "k2").await }
    }))
    .await;
    let (made, refused): (Vec<_>, Vec<_>) = twins.into_iter().partition(Result::is_ok);
    let made: BTreeSet<_> = made.into_iter().map(|row| row.unwrap().id).collect();
    assert_eq!(made.len(), 1);
    assert!(refused.iter().all(|twin| reason(twin.as_ref().unwrap_err()) == "IDEMPOTENCY_IN_FLIGHT"), "{refused:?}");
    assert_eq!(table(&mut client).await.row_count, 2);

    delete(&mut client, &first.id).await.unwrap();
    assert_eq!(keyed(&mut client, ann(), "k1").await.unwrap_err().code(), Code::NotFound, "it is not made again");
}

// === secrets ===

#[tokio::test]
async fn neither_the_log_nor_the_files_show_a_contact() {
    let log = Log::start("trace");
    let gateway = Gateway::start().await;
    let mut client = gateway.contacts().await;
    let secrets = ["+60123451477", "60123451477", "Canary", "canary@example.com", "canary-option"];
    add_column(&mut client, "plan", ColumnType::Select, &["canary-option"]).await.unwrap();
    let cells = json!({"phone_number": "012-345 1477", "first_name": "Canary", "email": "canary@example.com",
        "plan": "canary-option"});
    let row = keyed(&mut client, cells, "k").await.unwrap();
    update(&mut client, &row.id, json!({"last_name": "Canary", "email": "Canary"})).await.unwrap_err();
    let filter = RowFilter { column_id: "email".to_owned(), operator: 3, value: Some(value(&json!("Canary"))) };
    assert_eq!(query(&mut client, vec![filter]).await.unwrap().len(), 1);
    let gateway = gateway.restart().await;
    let mut files = vec![log.bytes()];
    for file in std::fs::read_dir(gateway.data()).unwrap() {
        files.extend(std::fs::read(file.unwrap().path()).ok());
    }
    assert!(files.len() > 2, "a log, a database and a journal");
    for secret in secrets {
        let shows = |bytes: &Vec<u8>| bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!files.iter().any(shows), "{secret} can be read");
    }
}

// === races ===

#[tokio::test]
async fn many_creates_at_once_are_all_counted() {
    let gateway = Gateway::start().await;
    let client = gateway.contacts().await;
    let race = (0..64).map(|number| {
        let mut client = client.clone();
        async move { create(&mut client, json!({"first_name": format!("{number}")})).await.unwrap().id }
    });
    let ids: BTreeSet<_> = join_all(race).await.into_iter().collect();
    let mut client = gateway.contacts().await;
    assert_eq!((ids.len(), table(&mut client).await.row_count), (64, 64));

    // Half of them go while as many come.
    let race = ids.iter().take(32).map(|id| {
        let mut client = client.clone();
        async move {
            let mut beside = client.clone();
            let (created, deleted) = tokio::join!(create(&mut beside, json!({})), delete(&mut client, id));
            created.and(deleted.map(|()| Row::default())).unwrap();
        }
    });
    join_all(race).await;
    let rows = query(&mut client, vec![]).await.unwrap();
    assert_eq!((rows.len(), table(&mut client).await.row_count), (64, 64));
}

#[tokio::test]
async fn the_last_place_is_given_once() {
    let gateway = Gateway::start_with(&format!("{CONFIG}\n[contacts]\nmax_rows = 5\n")).await;
    let client = gateway.contacts().await;
    let race = (0..32).map(|_| {
        let mut client = client.clone();
        async move { create(&mut client, json!({})).await }
    });
    let made = join_all(race).await.iter().filter(|created| created.is_ok()).count();
    let mut client = gateway.contacts().await;
    let rows = query(&mut client, vec![]).await.unwrap().len();
    assert_eq!((made, rows, table(&mut client).await.row_count), (5, 5, 5));
}

#[tokio::test]
async fn updates_of_one_row_at_once_lose_nothing() {
    let gateway = Gateway::start().await;
    let mut client = gateway.contacts().await;
    for number in 0..32 {
        add_column(&mut client, &format!("c{number}"), ColumnType::Number, &[]).await.unwrap();
    }
    let row = create(&mut client, json!({})).await.unwrap();
    let race = (0..32).map(|number| {
        let (mut client, id) = (client.clone(), row.id.clone());
        async move { update(&mut client, &id, json!({format!("c{number}"): number})).await.unwrap() }
    });
    join_all(race).await;
    assert_eq!(get(&mut client, &row.id).await.unwrap().columns.len(), 32);
}
