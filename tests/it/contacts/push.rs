//! Contacts are given to vendors that keep a list of their own: each when it is created and when it changes, once the
//! vendor is there.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Semaphore;
use verigate::config;
use verigate::contacts::cell::Value as CellValue;
use verigate::contacts::push::{Book, Pusher};
use verigate::contacts::rows::NewRow;
use verigate::proto::contacts::v1::{ColumnType, UpdateColumnRequest};
use verigate::vendor::{ContactRow, Failure};

use crate::contacts::house::House;
use crate::contacts::{add_column, change_of, create, delete, table, update, update_column};
use crate::support::gateway::{CONFIG, Contacts, Gateway, eventually};
use crate::support::vendor_server::{Answer, Fault, VendorServer};

const PATH: &str = "/contact/create";

async fn vendor() -> VendorServer {
    VendorServer::start(|request| {
        if request.path() == PATH { Answer::json(201, json!({})) } else { Answer::new(404, "no such page") }
    })
    .await
}

fn config_of(server: &VendorServer) -> String {
    let url = server.url();
    format!(
        "{CONFIG}\n[vendors.book]\nkind = 'octopush'\nbase_url = '{url}'\napi_login = 'a@example.com'\napi_key = 'k'\n\
         \n[contacts]\npush = ['book']\n[messaging]\nattempt_timeout = '2m'\n"
    )
}

/// What the vendor was given, oldest first.
fn given(server: &VendorServer) -> Vec<Value> {
    server.requests().iter().map(|request| request.json()).collect()
}

/// Waits until the vendor was asked so often.
async fn until_given(server: &VendorServer, count: usize) -> Vec<Value> {
    eventually(async || Some(given(server)).filter(|given| given.len() >= count)).await
}

/// Lets time pass until there is an answer, slowly enough for calls under way.
async fn later<T>(gateway: &Gateway, ask: impl Fn() -> Option<T>) -> T {
    let client = gateway.contacts().await;
    eventually(async || {
        gateway.clock.advance(Duration::from_secs(10));
        table(&mut client.clone()).await;
        ask()
    })
    .await
}

/// Lets time pass until the vendor was asked so often.
async fn until_given_later(gateway: &Gateway, server: &VendorServer, count: usize) -> Vec<Value> {
    later(gateway, || Some(given(server)).filter(|given| given.len() >= count)).await
}

/// Waits until nothing is left to give of what was there before: the second of these rows is given in a round that begins
/// when that of the first one has ended. How often the vendor was asked by then.
async fn settle(gateway: &Gateway, server: &VendorServer) -> usize {
    let mut client = gateway.contacts().await;
    for name in ["first", "second"] {
        let before = given(server).len();
        create(&mut client, json!({"phone_number": "+60123456780", "first_name": name})).await.unwrap();
        let is_there = |given: &Value| given["contacts"][0]["first_name"] == name;
        later(gateway, || given(server)[before..].iter().any(is_there).then_some(())).await;
    }
    given(server).len()
}

fn contact(number: &str, name: &str, list: &str) -> Value {
    json!({"contacts": [{"phone_number": number, "first_name": name}], "list_name": list})
}

async fn ann(client: &mut Contacts) -> String {
    create(client, json!({"phone_number": "012-345 6789", "first_name": "Ann"})).await.unwrap().id
}

#[tokio::test]
async fn a_row_is_given_when_it_is_created_and_when_it_changes() {
    let server = vendor().await;
    let gateway = Gateway::start_with(&config_of(&server)).await;
    let mut client = gateway.contacts().await;
    let id = ann(&mut client).await;
    assert_eq!(until_given(&server, 1).await, [contact("+60123456789", "Ann", "contact")]);

    // Columns that the vendor has no place for are left out.
    add_column(&mut client, "age", ColumnType::Number, &[]).await.unwrap();
    update(&mut client, &id, json!({"first_name": "Anna", "email": "ann@example.com", "age": 7})).await.unwrap();
    assert_eq!(until_given(&server, 2).await[1], contact("+60123456789", "Anna", "contact"));

    // It goes into each of its lists.
    let add = UpdateColumnRequest { add_options: vec!["VIP".to_owned(), "News".to_owned()], ..change_of("lists") };
    update_column(&mut client, add).await.unwrap();
    update(&mut client, &id, json!({"lists": ["News", "VIP"]})).await.unwrap();
    let lists: Vec<_> = until_given(&server, 4).await[2..].iter().map(|it| it["list_name"].clone()).collect();
    assert_eq!(lists, ["VIP", "News"]);

    // What is not a contact to the vendor at all is not given.
    let other = create(&mut client, json!({"email": "bob@example.com"})).await.unwrap();
    delete(&mut client, &other.id).await.unwrap();
    create(&mut client, json!({"phone_number": "+6598765432", "first_name": "Cid"})).await.unwrap();
    assert_eq!(until_given(&server, 5).await[4..], [contact("+6598765432", "Cid", "contact")]);
}

#[tokio::test]
async fn a_vendor_that_is_away_is_given_everything_when_it_is_back() {
    let server = vendor().await;
    server.set_fault(Fault::Refuse).await;
    let gateway = Gateway::start_with(&config_of(&server)).await;
    let mut client = gateway.contacts().await;
    let id = ann(&mut client).await;
    update(&mut client, &id, json!({"first_name": "Anna"})).await.unwrap();
    let gone = create(&mut client, json!({"phone_number": "+6598765432"})).await.unwrap();
    delete(&mut client, &gone.id).await.unwrap();
    for number in 0..40 {
        create(&mut client, json!({"phone_number": format!("+60123457{number:03}")})).await.unwrap();
    }
    // Neither a long absence nor a restart loses any.
    for _ in 0..50 {
        gateway.clock.advance(Duration::from_secs(60));
        tokio::task::yield_now().await;
    }
    let gateway = gateway.restart().await;
    server.set_fault(None).await;
    let given = until_given_later(&gateway, &server, 41).await;
    let number = |given: &Value| given["contacts"][0]["phone_number"].as_str().unwrap().to_owned();
    let numbers: std::collections::BTreeSet<_> = given.iter().map(number).collect();
    assert_eq!(numbers.len(), 41);
    assert!(!numbers.contains("+6598765432"), "a row that was deleted meanwhile is not given");
    assert!(given.contains(&contact("+60123456789", "Anna", "contact")), "it is given as it is now");
    assert!(!given.contains(&contact("+60123456789", "Ann", "contact")), "and not as it was");

    let before = settle(&gateway, &server).await;
    let gateway = gateway.restart().await;
    settle(&gateway, &server).await;
    let again = self::given(&server).split_off(before);
    assert!(again.iter().all(|given| number(given) == "+60123456780"), "what was given is given again: {again:?}");
}

#[tokio::test]
async fn a_row_is_given_once_a_vendor_has_time_and_our_account_is_mended() {
    let unauthorized = Fault::Answer(Answer::json(401, json!({"code": 101, "message": "wrong key"})));
    let broke = Fault::Answer(Answer::json(402, json!({"code": 104, "message": "no credit"})));
    for fault in [Fault::TooMany, unauthorized, broke] {
        let server = vendor().await;
        server.set_fault(fault).await;
        let gateway = Gateway::start_with(&config_of(&server)).await;
        ann(&mut gateway.contacts().await).await;
        until_given_later(&gateway, &server, 2).await;
        server.set_fault(None).await;
        let refused = given(&server).len();
        let given = until_given_later(&gateway, &server, refused + 1).await;
        assert_eq!(given[refused], contact("+60123456789", "Ann", "contact"));
    }
}

#[tokio::test]
async fn what_a_vendor_refuses_holds_up_nobody() {
    let server = vendor().await;
    let gateway = Gateway::start_with(&config_of(&server)).await;
    let mut client = gateway.contacts().await;
    // A cell longer than the vendor takes never leaves; a refusal is not asked for again.
    create(&mut client, json!({"phone_number": "+60123456780", "first_name": "x".repeat(51)})).await.unwrap();
    server.set_fault(Fault::Answer(Answer::json(400, json!({"code": 304, "message": "full"})))).await;
    create(&mut client, json!({"phone_number": "+60123456781", "first_name": "Bob"})).await.unwrap();
    until_given(&server, 1).await;
    server.set_fault(None).await;
    // One list may refuse what another takes.
    let lists = ["a list with a name too long for it", "VIP"];
    let add = UpdateColumnRequest { add_options: lists.map(str::to_owned).into(), ..change_of("lists") };
    update_column(&mut client, add).await.unwrap();
    let row = json!({"phone_number": "+60123456789", "first_name": "Ann", "lists": lists});
    create(&mut client, row).await.unwrap();
    let names: Vec<_> = until_given_later(&gateway, &server, 2)
        .await
        .iter()
        .map(|it| it["contacts"][0]["first_name"].clone())
        .collect();
    assert_eq!(names, ["Bob", "Ann"]);
}

#[tokio::test]
async fn a_row_without_a_clear_answer_is_given_so_often_and_then_no_more() {
    let server = vendor().await;
    server.set_fault(Fault::Html).await;
    let gateway = Gateway::start_with(&config_of(&server)).await;
    let mut client = gateway.contacts().await;
    ann(&mut client).await;
    until_given_later(&gateway, &server, 10).await;
    server.set_fault(None).await;
    create(&mut client, json!({"phone_number": "+60123456781", "first_name": "Bob"})).await.unwrap();
    let given = until_given_later(&gateway, &server, 11).await;
    assert_eq!(given[10..], [contact("+60123456781", "Bob", "contact")]);
}

#[tokio::test]
async fn creating_a_contact_waits_for_no_vendor() {
    let server = vendor().await;
    server.set_fault(Fault::Silence).await;
    let gateway = Gateway::start_with(&config_of(&server)).await;
    let mut client = gateway.contacts().await;
    ann(&mut client).await;
    until_given(&server, 1).await;
    ann(&mut client).await;
}

#[tokio::test]
async fn only_vendors_with_a_contact_list_can_be_given_contacts() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("verigate.toml");
    std::fs::write(place.path().join("key"), "").unwrap();
    let refused = |push: &str| {
        let text = CONFIG.replace("PLACE", place.path().to_str().unwrap());
        std::fs::write(&file, format!("{text}[contacts]\npush = [\n  {push}\n]\n")).unwrap();
        let clock = std::sync::Arc::new(verigate::clock::SystemClock);
        let loaded = config::load(Some(&file), std::iter::empty()).map_err(|error| error.to_string());
        let checked = loaded
            .and_then(|loaded| verigate::server::check(&loaded, clock).map_err(|error| error.message().to_owned()));
        checked.unwrap_err().replace(&format!("{}/", place.path().display()), "")
    };
    let line = CONFIG.lines().count() + 3;
    assert_eq!(
        refused("'inbox'"),
        format!(
            "verigate.toml:{line}: contacts.push[0]: must be a vendor that keeps a contact list, but \"inbox\" keeps none"
        )
    );
    assert_eq!(
        refused("'book'"),
        format!("verigate.toml:{line}: contacts.push[0]: must be a configured vendor (inbox), but is \"book\"")
    );
    assert!(refused("'inbox', 'inbox'").contains("contacts.push[1]: must be listed once"));
}

/// A vendor's list whose answers wait for the test.
struct SlowBook {
    taken: Mutex<Vec<ContactRow>>,
    answers: Semaphore,
}

#[async_trait::async_trait]
impl Book for SlowBook {
    fn vendor(&self) -> &str {
        "slow"
    }

    fn takes(&self, _: &str) -> bool {
        true
    }

    fn keeps_lists(&self) -> bool {
        false
    }

    async fn push(&self, row: &ContactRow) -> Result<(), Failure> {
        self.taken.lock().unwrap().push(row.clone());
        self.answers.acquire().await.unwrap().forget();
        Ok(())
    }
}

#[tokio::test]
async fn a_change_during_a_call_is_given_too() {
    let house = House::new(100, &["slow"]).await;
    let book = Arc::new(SlowBook { taken: Mutex::default(), answers: Semaphore::new(0) });
    let pusher = Pusher::new(house.ground.clone(), &house.queue, Arc::clone(&book) as Arc<dyn Book>);
    let running = tokio::spawn(pusher.run());
    let until = |count: usize| {
        let book = Arc::clone(&book);
        async move { eventually(async || (book.taken.lock().unwrap().len() == count).then_some(())).await }
    };
    let name = |name: &str| [("first_name".to_owned(), Some(CellValue::Text(name.to_owned())))].into();
    let new = NewRow { values: name("Ann"), ..NewRow::default() };
    let row = house.contacts.create_row(&house.tenant, new).await.unwrap();
    until(1).await;
    house.contacts.update_row(&house.tenant, row.id, &name("Anna")).await.unwrap();
    book.answers.add_permits(1);
    until(2).await;
    book.answers.add_permits(1);
    // And only then does it rest.
    house.contacts.update_row(&house.tenant, row.id, &name("Annabel")).await.unwrap();
    book.answers.add_permits(1);
    until(3).await;
    let names: Vec<_> = book.taken.lock().unwrap().iter().map(|row| row.cells["first_name"].clone()).collect();
    assert_eq!(names, ["Ann", "Anna", "Annabel"]);
    running.abort();
}
