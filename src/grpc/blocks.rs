//! Blocked areas on the wire of `verigate.admin.v1.AdminService`.

use crate::error::{Error, Result};
use crate::grpc::convert::{parse_page_size, parse_text, to_time};
use crate::guard::area::Area;
use crate::guard::block::Block;
use crate::guard::blocks::{BlockPage, BlockToken};
use crate::guard::service::Guard;
use crate::id::TenantName;
use crate::messaging::page::{DEFAULT_SIZE, MAX_SIZE};
use crate::proto::admin::v1 as pb;
use crate::tenant::Tenant;
use crate::violations::Violations;

pub(crate) fn list(guard: &Guard, request: pb::ListBlocksRequest) -> Result<pb::ListBlocksResponse> {
    let mut unread = Violations::default();
    let tenant = unread.note(parse_text(request.tenant).map(|name| name.parse()).transpose())?.flatten();
    let token = parse_text(request.page_token).map(|token| token.parse::<BlockToken>()).transpose();
    let token = unread.note(token)?.flatten();
    let size = parse_page_size(request.page_size, &mut unread).unwrap_or(DEFAULT_SIZE).min(MAX_SIZE);
    if !unread.0.is_empty() {
        return Err(Error::invalid_fields(unread.0));
    }
    let BlockPage { blocks, next } = guard.blocks(tenant.as_ref(), size, token.as_ref())?;
    Ok(pb::ListBlocksResponse {
        blocks: blocks.into_iter().map(to_block).collect(),
        next_page_token: next.map(|token| token.to_string()).unwrap_or_default(),
    })
}

pub(crate) fn end(guard: &Guard, caller: &Tenant, request: pb::UnblockRequest) -> Result<pb::UnblockResponse> {
    let (tenant, area) = parse_place(caller, request)?;
    let since = guard.unblock(&tenant, &area)?;
    Ok(pb::UnblockResponse { block_time: Some(to_time(since)) })
}

fn parse_place(caller: &Tenant, request: pb::UnblockRequest) -> Result<(TenantName, Area)> {
    let mut found = Violations::default();
    let tenant = parse_text(request.tenant).map_or_else(|| Ok(caller.name.clone()), |name| name.parse());
    let tenant = found.note(tenant)?;
    let area = found.note(request.area.parse::<Area>().map_err(|wanted| Error::invalid("area", wanted)))?;
    match (tenant, area) {
        (Some(tenant), Some(area)) => Ok((tenant, area)),
        _ => Err(Error::invalid_fields(found.0)),
    }
}

fn to_block(block: Block) -> pb::Block {
    pb::Block {
        tenant: block.tenant.to_string(),
        area: block.area.to_string(),
        block_time: Some(to_time(block.since)),
        probe_time: Some(to_time(block.until)),
    }
}
