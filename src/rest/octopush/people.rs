//! The contact list: the vendor's clients only ever write to it.
//!
//! Lists and tags are options of two columns of the tenant's table, and a contact is known by its number.

use std::collections::{BTreeMap, BTreeSet};

use http::StatusCode;
use serde_json::{Value, json};

use crate::contacts::cell;
use crate::contacts::column::Kind;
use crate::contacts::save::Save;
use crate::contacts::table::{LISTS, NewColumn};
use crate::rest::desk::Desk;
use crate::rest::input::Call;
use crate::rest::octopush::caller::authenticate;
use crate::rest::octopush::coerce::{Fields, clean, cut};
use crate::rest::octopush::contact::{Contact, parse_contacts};
use crate::rest::octopush::refusal::Refusal;
use crate::rest::trouble::Trouble;

const NUMBER: &str = "phone_number";
const TAGS: &str = "tags";

/// Most characters of the name of a list and of a tag.
const MAX_LIST: usize = 30;
const MAX_TAG: usize = 20;

/// Adds contacts to the list, or changes those that are there.
pub(super) async fn create(desk: &Desk, call: &Call) -> Result<(StatusCode, Value), Refusal> {
    let caller = authenticate(desk, call)?;
    let fields = Fields::read(call)?;
    let contacts = parse_contacts(fields.raw("contacts"), &caller.tenant)?;
    let lists = names(&fields, ["list_name", "list_names"], MAX_LIST);
    let tags = names(&fields, ["tag_name", "tag_names"], MAX_TAG);
    let add = BTreeMap::from([(LISTS.to_owned(), lists.clone()), (TAGS.to_owned(), tags.clone())]);
    let remove = [(LISTS, "un_list", MAX_LIST), (TAGS, "un_tag", MAX_TAG)];
    let remove: BTreeMap<_, _> =
        remove.into_iter().map(|(column, name, most)| (column.to_owned(), names(&fields, [name], most))).collect();
    let saves: Vec<_> = contacts.iter().map(|contact| to_save(contact, &add, &remove)).collect();
    let overwrite = fields.flag("do_not_overwrite") != Some(true);

    desk.prepare_contacts(&caller, &columns(&contacts, lists, tags)).await.map_err(|trouble| refused(&trouble))?;
    let saved = desk.save_contacts(&caller, NUMBER, &saves, overwrite).await.map_err(|trouble| refused(&trouble))?;
    let kept = saved.iter().any(Result::is_ok);
    match saved.into_iter().find_map(Result::err) {
        Some(trouble) if !kept => Err(refused(&trouble)),
        _ => Ok(created()),
    }
}

/// Makes a list that contacts can be put into.
pub(super) async fn create_list(desk: &Desk, call: &Call) -> Result<(StatusCode, Value), Refusal> {
    let caller = authenticate(desk, call)?;
    let fields = Fields::read(call)?;
    let lists = names(&fields, ["list_name"], MAX_LIST);
    if lists.is_empty() {
        return Err(Refusal::bad(116, "The name of the list is missing."));
    }
    let wanted = [column(LISTS, Kind::MultiSelect, lists)];
    desk.prepare_contacts(&caller, &wanted).await.map_err(|trouble| refused(&trouble))?;
    Ok(created())
}

fn created() -> (StatusCode, Value) {
    (StatusCode::CREATED, json!({ "code": 0, "message": "success" }))
}

/// Trouble with the table, which campaigns do not have.
fn refused(trouble: &Trouble) -> Refusal {
    match trouble {
        Trouble::Refused(_) => Refusal::bad(304, "The contact list is full."),
        Trouble::Fields(violations) if violations.iter().any(|it| it.field.contains("options")) => {
            Refusal::bad(301, "There are as many lists and tags as there may be.")
        }
        trouble => Refusal::of(trouble),
    }
}

fn to_save(contact: &Contact, add: &BTreeMap<String, Vec<String>>, remove: &BTreeMap<String, Vec<String>>) -> Save {
    let number = (NUMBER, contact.phone.e164().to_owned());
    let words = contact.words.iter().map(|(name, word)| (*name, word.clone()));
    let values = words.chain([number]).map(|(name, text)| (name.to_owned(), Some(cell::Value::Text(text))));
    Save { values: values.collect(), add: add.clone(), remove: remove.clone() }
}

/// The columns that these contacts need.
fn columns(contacts: &[Contact], lists: Vec<String>, tags: Vec<String>) -> Vec<NewColumn> {
    let used: BTreeSet<_> = contacts.iter().flat_map(|contact| contact.words.keys().copied()).collect();
    let words = used.into_iter().map(|name| column(name, Kind::Text, Vec::new()));
    let others = [
        column(NUMBER, Kind::PhoneNumber, Vec::new()),
        column(LISTS, Kind::MultiSelect, lists),
        column(TAGS, Kind::MultiSelect, tags),
    ];
    words.chain(others).collect()
}

fn column(name: &str, kind: Kind, options: Vec<String>) -> NewColumn {
    NewColumn { name: name.to_owned(), kind, options }
}

/// The names that any of these parameters hold, each once.
fn names<const N: usize>(fields: &Fields, parameters: [&str; N], most: usize) -> Vec<String> {
    let texts = parameters.iter().flat_map(|parameter| fields.texts(parameter));
    let mut names = Vec::new();
    for text in texts {
        let name = cut(clean(&text).replace('\n', " ").trim(), most).trim_end().to_owned();
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
