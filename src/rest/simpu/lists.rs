//! The contact list: a table of typed columns, and its rows, whose cells go by the ids of their columns.
//!
//! The vendor has smart lists, which are stored searches. There are none here, so none is found. How a search is paged
//! is inferred from the answer's own words: `page` counts from 1, and `query_id` names the search that the pages belong
//! to, which comes with each of them.

use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use crate::auth::caller::Caller;
use crate::contacts::cell::{Value, Values};
use crate::contacts::column::{Column, Kind};
use crate::contacts::filter::{Filter, MAX_FILTERS, Operator};
use crate::contacts::row::RowView;
use crate::contacts::rows::NewRow;
use crate::contacts::table::Table;
use crate::id::Id;
use crate::messaging::page::MAX_SIZE;
use crate::rest::desk::Desk;
use crate::rest::input::Call;
use crate::rest::simpu::fields::Fields;
use crate::rest::simpu::problem::{Fault, Problem, missing};
use crate::rest::simpu::words::{parse_hex, to_flag, to_hex, to_time};
use crate::rest::trouble::Trouble;

const ROW_NOT_FOUND: &str = "Row not found";

/// Rows on a page, when the caller does not say.
const DEFAULT_LIMIT: u64 = 100;

/// The last page that anybody can ask for.
const MAX_PAGE: u64 = 10_000_000;

/// The vendor's page shows `contain`. The words beside it are inferred, as are the other spellings that are taken.
const OPERATORS: &[&str] =
    &["equal", "not_equal", "contain", "start_with", "greater_than", "less_than", "is_empty", "is_not_empty"];

/// L1: the table.
pub(super) async fn table(desk: &Desk, caller: &Caller) -> Result<Json, Problem> {
    read_table(desk, caller).await.map(|table| to_table(&table))
}

/// L2: a row by its id.
pub(super) async fn get(desk: &Desk, caller: &Caller, id: &str) -> Result<Json, Problem> {
    let row = desk.contact(caller, parse_id(id)?).await.map_err(|trouble| refused(&trouble))?;
    let table = read_table(desk, caller).await?;
    Ok(to_body(&row, &table))
}

/// L3: adds a row.
pub(super) async fn create(desk: &Desk, caller: &Caller, call: &Call) -> Result<Json, Problem> {
    let table = read_table(desk, caller).await?;
    let values = parse_row(call, &table)?;
    let idempotency_key = call.idempotency_key().map_err(|trouble| refused(&trouble))?;
    let new = NewRow { values, idempotency_key, unread: Vec::new() };
    let row = desk.create_contact(caller, new).await.map_err(|trouble| refused(&trouble))?;
    Ok(to_body(&row, &table))
}

/// L4: changes the cells that are named.
pub(super) async fn update(desk: &Desk, caller: &Caller, call: &Call, id: &str) -> Result<Json, Problem> {
    let table = read_table(desk, caller).await?;
    let values = parse_row(call, &table)?;
    let row = desk.update_contact(caller, parse_id(id)?, &values).await.map_err(|trouble| refused(&trouble))?;
    Ok(to_body(&row, &table))
}

/// L5: deletes a row.
pub(super) async fn delete(desk: &Desk, caller: &Caller, id: &str) -> Result<(), Problem> {
    desk.delete_contact(caller, parse_id(id)?).await.map_err(|trouble| refused(&trouble))
}

/// L6: the rows that pass all filters, newest first.
pub(super) async fn query(desk: &Desk, caller: &Caller, call: &Call) -> Result<Json, Problem> {
    let mut fields = Fields::read_or_none(call)?;
    let limit = fields.whole_in_query(call, "limit", 1..=MAX_SIZE as u64).unwrap_or(DEFAULT_LIMIT);
    let page = fields.whole_in_query(call, "page", 1..=MAX_PAGE).unwrap_or(1);
    let smartlist = fields.text("smartlist_id");
    let written = fields.take("filters").unwrap_or_else(|| Json::Array(Vec::new()));
    let table = read_table(desk, caller).await?;
    let filters = parse_filters(&mut fields, &written, &table);
    let query_id = query_id(caller, &written);
    if call.query("query_id").is_some_and(|asked| asked != query_id) {
        fields.add("query_id", Fault::Value("names a search with other filters; send those along, too".into()));
    }
    let filters = fields.done(Some(filters))?;
    if smartlist.is_some() {
        return Err(missing("Smartlist not found"));
    }
    let from = (page - 1) * limit;
    let (from, size) = (usize::try_from(from).unwrap_or(usize::MAX), usize::try_from(limit).unwrap_or(MAX_SIZE));
    let found = desk.numbered_contacts(caller, &filters, from, size).await.map_err(|trouble| refused(&trouble))?;
    let pages = (found.total as u64).div_ceil(limit);
    Ok(json!({
        "rows": found.rows.iter().map(|row| to_row(row, &table)).collect::<Json>(),
        "table": to_table(&table),
        "smartlist": null,
        "meta": {
            "method": "POST",
            "resource": "/lists/contact/rows/query",
            "pagination": {
                "next_page": to_flag(page < pages),
                "per_page": limit,
                "count_total": found.total,
                "page_total": pages,
                "page": page,
                "prev_page": to_flag(page > 1),
                "query_id": query_id,
            },
        },
    }))
}

async fn read_table(desk: &Desk, caller: &Caller) -> Result<Table, Problem> {
    desk.contact_table(caller).await.map_err(|trouble| refused(&trouble))
}

fn refused(trouble: &Trouble) -> Problem {
    match trouble {
        Trouble::NotFound => missing(ROW_NOT_FOUND),
        trouble => Problem::of(trouble, "columns"),
    }
}

/// The same for the same filters, and for nobody else.
fn query_id(caller: &Caller, filters: &Json) -> String {
    let digest = Sha256::digest(format!("{} {filters}", caller.tenant.name));
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn parse_id(text: &str) -> Result<Id, Problem> {
    parse_hex(text).ok_or_else(|| missing(ROW_NOT_FOUND))
}

fn parse_row(call: &Call, table: &Table) -> Result<Values, Problem> {
    let mut fields = Fields::read(call)?;
    let columns = match fields.take("columns") {
        None => fields.note("columns", Err(Fault::Missing)),
        Some(Json::Object(columns)) => Some(columns),
        Some(_) => fields.note("columns", Err(Fault::NotObject)),
    };
    let mut values = Values::new();
    for (column, cell) in columns.into_iter().flatten() {
        let value = if cell.is_null() { Ok(None) } else { parse_cell(&cell).map(Some) };
        if let Some(value) = fields.note(&format!("columns.{column}"), value) {
            let value = value.map(|value| international(table.column(&column), value));
            values.insert(column, value);
        }
    }
    fields.done(Some(values))
}

fn parse_cell(cell: &Json) -> Result<Value, Fault> {
    let wrong = || Fault::Value("must be a text, a number or a list of texts".into());
    match cell {
        Json::String(text) => Ok(Value::Text(text.clone())),
        Json::Number(number) => number.as_f64().map(Value::Number).ok_or_else(wrong),
        Json::Array(items) => {
            let texts = items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
            texts.map(Value::List).ok_or_else(wrong)
        }
        Json::Null | Json::Bool(_) | Json::Object(_) => Err(wrong()),
    }
}

/// A phone number in digits begins with its country code, as everywhere in this interface, unless it begins with the
/// zero of a national one.
fn international(column: Option<&Column>, value: Value) -> Value {
    let of_phone = column.is_some_and(|column| column.kind == Kind::PhoneNumber);
    match value {
        Value::Text(text) if of_phone && !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            Value::Text(if text.is_empty() { text } else { format!("+{text}") })
        }
        other => other,
    }
}

fn parse_filters(fields: &mut Fields, written: &Json, table: &Table) -> Vec<Filter> {
    let Json::Array(items) = written else {
        fields.add("filters", Fault::NotList);
        return Vec::new();
    };
    if items.len() > MAX_FILTERS {
        fields.add("filters", Fault::MoreThan(MAX_FILTERS));
        return Vec::new();
    }
    let read = |(at, item)| parse_filter(fields, &format!("filters.{at}"), item, table);
    items.iter().enumerate().filter_map(read).collect()
}

fn parse_filter(fields: &mut Fields, path: &str, item: &Json, table: &Table) -> Option<Filter> {
    let Json::Object(item) = item else { return fields.note(path, Err(Fault::NotObject)) };
    let text = |name: &str| item.get(name).filter(|value| !value.is_null());
    // Named by its id, or else by its name.
    let column = match text("column_id").or_else(|| text("name")) {
        None => Err(Fault::Missing),
        Some(Json::String(column)) => Ok(column.clone()),
        Some(_) => Err(Fault::NotText),
    };
    let operator = match text("operator") {
        None => Err(Fault::Missing),
        Some(Json::String(word)) => parse_operator(word).ok_or(Fault::NoneOf(OPERATORS)),
        Some(_) => Err(Fault::NotText),
    };
    let value = text("value").map(parse_cell).transpose();
    let column = fields.note(&format!("{path}.column_id"), column);
    let operator = fields.note(&format!("{path}.operator"), operator);
    let value = fields.note(&format!("{path}.value"), value)?;
    let (column, operator) = column.zip(operator)?;
    let value = value.map(|value| international(table.column(&column), value));
    Some(Filter { column, operator, value })
}

fn parse_operator(word: &str) -> Option<Operator> {
    Some(match word.to_ascii_lowercase().replace([' ', '-'], "_").as_str() {
        "equal" | "equals" | "is" | "=" => Operator::Equals,
        "not_equal" | "not_equals" | "is_not" | "!=" => Operator::NotEquals,
        "contain" | "contains" => Operator::Contains,
        "start_with" | "starts_with" => Operator::StartsWith,
        "greater_than" | ">" => Operator::GreaterThan,
        "less_than" | "<" => Operator::LessThan,
        "is_empty" | "empty" => Operator::IsEmpty,
        "is_not_empty" | "not_empty" => Operator::IsNotEmpty,
        _ => return None,
    })
}

fn to_body(row: &RowView, table: &Table) -> Json {
    json!({ "row": to_row(row, table), "table": to_table(table) })
}

fn to_table(table: &Table) -> Json {
    let column =
        |column: &Column| json!({ "id": column.id.to_string(), "name": column.name, "type": column.kind.as_str() });
    json!({
        "id": to_hex(table.id),
        "columns": table.columns().iter().map(column).collect::<Json>(),
        "created_datetime": to_time(table.created_at),
        "updated_datetime": to_time(table.updated_at),
    })
}

fn to_row(row: &RowView, table: &Table) -> Json {
    let cells = row.columns.iter().map(|(id, value)| (id.to_string(), to_cell(table.with_id(*id), value)));
    json!({
        "id": to_hex(row.id),
        "columns": cells.collect::<serde_json::Map<_, _>>(),
        "created_datetime": to_time(row.created_at),
        "updated_datetime": to_time(row.updated_at),
    })
}

/// A whole number is written as one, and a phone number in digits.
fn to_cell(column: Option<&Column>, value: &Value) -> Json {
    /// Above it not every whole number has a place of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Text(text) if column.is_some_and(|column| column.kind == Kind::PhoneNumber) => {
            text.trim_start_matches('+').into()
        }
        Value::Text(text) => text.as_str().into(),
        Value::Number(number) if number.fract() == 0.0 && number.abs() < EXACT => (*number as i64).into(),
        Value::Number(number) => (*number).into(),
        Value::List(texts) => texts.clone().into(),
    }
}
