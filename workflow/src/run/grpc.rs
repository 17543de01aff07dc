//! `call: grpc`.

use serde_json::{Map, Value};

use super::{Interpreter, Surroundings};
use crate::{
    GrpcFailure, GrpcRequest, GrpcStatus, Problem,
    grpc::{self, GrpcCall},
};

impl Interpreter<'_> {
    pub(super) async fn grpc(&self, call: &GrpcCall, on: &Value, around: &Surroundings) -> Result<Value, Problem> {
        let host = self.text("host", &call.host, on, around).await?;
        if !grpc::is_host(&host) {
            return Err(Problem::expression("`host` has to be the name or the address of a host"));
        }
        let arguments = match &call.arguments {
            None => Value::Object(Map::new()),
            Some(arguments) => self.fill(arguments, on, around).await?,
        };
        if !arguments.is_object() {
            return Err(Problem::expression("`arguments` have to be an object"));
        }
        let authorization = self.authorization(call.authentication.as_ref(), on, around).await?;
        let request = GrpcRequest {
            proto: call.proto.clone(),
            host,
            port: call.port,
            service: call.service.clone(),
            method: call.method.clone(),
            authorization: authorization.map(|(_, value)| value),
            arguments,
            secrets: self.secrets.named(|all, names| {
                call.arguments.iter().for_each(|template| template.add_secrets(all, names));
                call.authentication.iter().for_each(|authentication| authentication.add_secrets(all, names));
            }),
        };
        let answer = self.effects.grpc(request).await;
        if let Err(GrpcFailure::Status { code: GrpcStatus::Unauthenticated, .. }) = &answer {
            self.tokens.forget();
        }
        Ok(answer?)
    }
}
