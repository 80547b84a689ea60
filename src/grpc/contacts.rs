//! `verigate.contacts.v1.ContactsService`.

use std::collections::HashMap;
use std::sync::Arc;

use prost_types::value::Kind as PbKind;
use tonic::{Request, Response, Status};

use crate::contacts::cell::{Value, Values};
use crate::contacts::column::{Column, Kind};
use crate::contacts::filter::{Filter, Operator};
use crate::contacts::row::RowView;
use crate::contacts::rows::NewRow;
use crate::contacts::service::Contacts;
use crate::contacts::table::{ColumnChange, NewColumn, Table, path_of, refuse};
use crate::error::{Error, Result, Violation};
use crate::grpc::access::tenant_of;
use crate::grpc::convert::{parse_id, parse_page, parse_text, to_count, to_status, to_time};
use crate::messaging::page::PageRequest;
use crate::proto::contacts::v1 as pb;
use crate::proto::contacts::v1::contacts_service_server::ContactsService;
use crate::violations::Violations;

pub struct ContactsApi {
    contacts: Arc<Contacts>,
}

// === impl ContactsApi ===

impl ContactsApi {
    pub fn new(contacts: Arc<Contacts>) -> Self {
        Self { contacts }
    }
}

#[tonic::async_trait]
impl ContactsService for ContactsApi {
    async fn get_table(&self, request: Request<pb::GetTableRequest>) -> Result<Response<pb::GetTableResponse>, Status> {
        let tenant = tenant_of(&request)?;
        let table = self.contacts.table(&tenant.name).await.map_err(to_status)?;
        Ok(Response::new(pb::GetTableResponse { table: Some(to_table(&table)) }))
    }

    async fn add_column(
        &self,
        request: Request<pb::AddColumnRequest>,
    ) -> Result<Response<pb::AddColumnResponse>, Status> {
        let tenant = tenant_of(&request)?;
        let new = parse_column(request.into_inner()).map_err(to_status)?;
        let column = self.contacts.add_column(&tenant.name, &new).await.map_err(to_status)?;
        Ok(Response::new(pb::AddColumnResponse { column: Some(to_column(&column)) }))
    }

    async fn update_column(
        &self,
        request: Request<pb::UpdateColumnRequest>,
    ) -> Result<Response<pb::UpdateColumnResponse>, Status> {
        let tenant = tenant_of(&request)?;
        let (column, change) = parse_column_change(request.into_inner()).map_err(to_status)?;
        let column = self.contacts.update_column(&tenant.name, &column, &change).await.map_err(to_status)?;
        Ok(Response::new(pb::UpdateColumnResponse { column: Some(to_column(&column)) }))
    }

    async fn delete_column(
        &self,
        request: Request<pb::DeleteColumnRequest>,
    ) -> Result<Response<pb::DeleteColumnResponse>, Status> {
        let tenant = tenant_of(&request)?;
        let column = parse_column_id(request.into_inner().column_id).map_err(to_status)?;
        self.contacts.delete_column(&tenant.name, &column).await.map_err(to_status)?;
        Ok(Response::new(pb::DeleteColumnResponse {}))
    }

    async fn create_row(
        &self,
        request: Request<pb::CreateRowRequest>,
    ) -> Result<Response<pb::CreateRowResponse>, Status> {
        let tenant = tenant_of(&request)?;
        let new = parse_row(request.into_inner());
        let row = self.contacts.create_row(&tenant, new).await.map_err(to_status)?;
        Ok(Response::new(pb::CreateRowResponse { row: Some(to_row(row)) }))
    }

    async fn get_row(&self, request: Request<pb::GetRowRequest>) -> Result<Response<pb::GetRowResponse>, Status> {
        let tenant = tenant_of(&request)?;
        let id = parse_id(&request.get_ref().id).map_err(to_status)?;
        let row = self.contacts.get_row(&tenant.name, id).await.map_err(to_status)?;
        Ok(Response::new(pb::GetRowResponse { row: Some(to_row(row)) }))
    }

    async fn update_row(
        &self,
        request: Request<pb::UpdateRowRequest>,
    ) -> Result<Response<pb::UpdateRowResponse>, Status> {
        let tenant = tenant_of(&request)?;
        let request = request.into_inner();
        let mut unread = Violations::default();
        let values = parse_values(request.columns, &mut unread);
        let id = unread.note(parse_id(&request.id)).map_err(to_status)?;
        refuse(unread).map_err(to_status)?;
        let id = id.ok_or_else(|| to_status(Error::internal("an id that could not be read was not refused")))?;
        let row = self.contacts.update_row(&tenant, id, &values).await.map_err(to_status)?;
        Ok(Response::new(pb::UpdateRowResponse { row: Some(to_row(row)) }))
    }

    async fn delete_row(
        &self,
        request: Request<pb::DeleteRowRequest>,
    ) -> Result<Response<pb::DeleteRowResponse>, Status> {
        let tenant = tenant_of(&request)?;
        let id = parse_id(&request.get_ref().id).map_err(to_status)?;
        self.contacts.delete_row(&tenant.name, id).await.map_err(to_status)?;
        Ok(Response::new(pb::DeleteRowResponse {}))
    }

    async fn query_rows(
        &self,
        request: Request<pb::QueryRowsRequest>,
    ) -> Result<Response<pb::QueryRowsResponse>, Status> {
        let tenant = tenant_of(&request)?;
        let (filters, page) = parse_query(request.into_inner()).map_err(to_status)?;
        let page = self.contacts.query(&tenant, &filters, &page).await.map_err(to_status)?;
        Ok(Response::new(pb::QueryRowsResponse {
            rows: page.items.into_iter().map(to_row).collect(),
            next_page_token: page.next.map(|token| token.to_string()).unwrap_or_default(),
        }))
    }
}

fn parse_column(request: pb::AddColumnRequest) -> Result<NewColumn> {
    let kind = parse_kind(request.r#type)?;
    Ok(NewColumn { name: request.name, kind, options: request.options })
}

fn parse_column_change(request: pb::UpdateColumnRequest) -> Result<(String, ColumnChange)> {
    let column = parse_column_id(request.column_id)?;
    let change = ColumnChange {
        name: parse_text(request.name),
        add_options: request.add_options,
        remove_options: request.remove_options,
        rename_options: request.rename_options.into_iter().collect(),
    };
    Ok((column, change))
}

fn parse_column_id(text: String) -> Result<String> {
    parse_text(text).ok_or_else(|| Error::invalid("column_id", "must be the id or the name of a column"))
}

fn parse_row(request: pb::CreateRowRequest) -> NewRow {
    let mut unread = Violations::default();
    let values = parse_values(request.columns, &mut unread);
    NewRow { values, idempotency_key: parse_text(request.idempotency_key), unread: unread.0 }
}

fn parse_query(request: pb::QueryRowsRequest) -> Result<(Vec<Filter>, PageRequest)> {
    let mut unread = Violations::default();
    let filters = request.filters.into_iter().enumerate();
    let filters = filters.filter_map(|(at, filter)| match parse_filter(filter) {
        Ok(filter) => Some(filter),
        Err(wrong) => {
            unread.nest(&format!("filters[{at}]"), vec![wrong]);
            None
        }
    });
    let filters = filters.collect();
    let page = parse_page(request.page_size, &request.page_token, None, None, &mut unread)?;
    refuse(unread)?;
    Ok((filters, page))
}

fn parse_filter(filter: pb::RowFilter) -> Result<Filter, Violation> {
    let operator = parse_operator(filter.operator).ok_or_else(|| Violation {
        field: "operator".to_owned(),
        description: format!("must be one that there is, but is {}", filter.operator),
    })?;
    let value = filter.value.map(parse_value).transpose();
    let value = value.map_err(|description| Violation { field: "value".to_owned(), description })?;
    Ok(Filter { column: filter.column_id, operator, value: value.flatten() })
}

fn parse_values(columns: HashMap<String, prost_types::Value>, unread: &mut Violations) -> Values {
    let mut values = Values::new();
    for (key, value) in columns {
        match parse_value(value) {
            Ok(value) => drop(values.insert(key, value)),
            Err(wrong) => unread.add(&path_of(&key), wrong),
        }
    }
    values
}

/// `None` for null, and for a value with nothing in it: that is what grpcurl makes of a null in a map.
fn parse_value(value: prost_types::Value) -> Result<Option<Value>, String> {
    let wrong = || "must be a text, a number, a list of texts, or null".to_owned();
    match value.kind {
        Some(PbKind::NullValue(_)) | None => Ok(None),
        Some(PbKind::NumberValue(number)) => Ok(Some(Value::Number(number))),
        Some(PbKind::StringValue(text)) => Ok(Some(Value::Text(text))),
        Some(PbKind::ListValue(list)) => {
            let texts = list.values.into_iter().map(|value| match value.kind {
                Some(PbKind::StringValue(text)) => Ok(text),
                _ => Err(wrong()),
            });
            texts.collect::<Result<_, _>>().map(|texts| Some(Value::List(texts)))
        }
        Some(PbKind::BoolValue(_) | PbKind::StructValue(_)) => Err(wrong()),
    }
}

fn parse_kind(kind: i32) -> Result<Kind> {
    match pb::ColumnType::try_from(kind) {
        Ok(pb::ColumnType::Text) => Ok(Kind::Text),
        Ok(pb::ColumnType::Number) => Ok(Kind::Number),
        Ok(pb::ColumnType::Date) => Ok(Kind::Date),
        Ok(pb::ColumnType::PhoneNumber) => Ok(Kind::PhoneNumber),
        Ok(pb::ColumnType::Email) => Ok(Kind::Email),
        Ok(pb::ColumnType::Url) => Ok(Kind::Url),
        Ok(pb::ColumnType::Select) => Ok(Kind::Select),
        Ok(pb::ColumnType::MultiSelect) => Ok(Kind::MultiSelect),
        Ok(pb::ColumnType::Unspecified) | Err(_) => {
            Err(Error::invalid("type", format!("must be a type that there is, but is {kind}")))
        }
    }
}

fn parse_operator(operator: i32) -> Option<Operator> {
    match pb::FilterOperator::try_from(operator) {
        Ok(pb::FilterOperator::Equals) => Some(Operator::Equals),
        Ok(pb::FilterOperator::NotEquals) => Some(Operator::NotEquals),
        Ok(pb::FilterOperator::Contains) => Some(Operator::Contains),
        Ok(pb::FilterOperator::StartsWith) => Some(Operator::StartsWith),
        Ok(pb::FilterOperator::GreaterThan) => Some(Operator::GreaterThan),
        Ok(pb::FilterOperator::LessThan) => Some(Operator::LessThan),
        Ok(pb::FilterOperator::IsEmpty) => Some(Operator::IsEmpty),
        Ok(pb::FilterOperator::IsNotEmpty) => Some(Operator::IsNotEmpty),
        Ok(pb::FilterOperator::Unspecified) | Err(_) => None,
    }
}

fn to_table(table: &Table) -> pb::Table {
    pb::Table {
        id: table.id.to_string(),
        columns: table.columns().iter().map(to_column).collect(),
        row_count: to_count(table.rows()),
        create_time: Some(to_time(table.created_at)),
        update_time: Some(to_time(table.updated_at)),
    }
}

fn to_column(column: &Column) -> pb::Column {
    pb::Column {
        id: column.id.to_string(),
        name: column.name.clone(),
        r#type: to_kind(column.kind).into(),
        options: column.options().map(str::to_owned).collect(),
    }
}

fn to_kind(kind: Kind) -> pb::ColumnType {
    match kind {
        Kind::Text => pb::ColumnType::Text,
        Kind::Number => pb::ColumnType::Number,
        Kind::Date => pb::ColumnType::Date,
        Kind::PhoneNumber => pb::ColumnType::PhoneNumber,
        Kind::Email => pb::ColumnType::Email,
        Kind::Url => pb::ColumnType::Url,
        Kind::Select => pb::ColumnType::Select,
        Kind::MultiSelect => pb::ColumnType::MultiSelect,
    }
}

pub(crate) fn to_row(row: RowView) -> pb::Row {
    pb::Row {
        id: row.id.to_string(),
        columns: row.columns.into_iter().map(|(id, value)| (id.to_string(), to_value(value))).collect(),
        create_time: Some(to_time(row.created_at)),
        update_time: Some(to_time(row.updated_at)),
    }
}

fn to_value(value: Value) -> prost_types::Value {
    let text = |text| prost_types::Value { kind: Some(PbKind::StringValue(text)) };
    match value {
        Value::Text(it) => text(it),
        Value::Number(number) => prost_types::Value { kind: Some(PbKind::NumberValue(number)) },
        Value::List(options) => {
            let values = options.into_iter().map(text).collect();
            prost_types::Value { kind: Some(PbKind::ListValue(prost_types::ListValue { values })) }
        }
    }
}
