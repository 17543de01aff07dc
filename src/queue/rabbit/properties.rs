//! What a message is described by, and what of that goes with it when it is put into another queue than the one it came from.

use lapin::{
    BasicProperties,
    types::{FieldTable, ShortString},
};

/// AMQP's delivery mode of messages that survive a restart of the broker.
const PERSISTENT: u8 = 2;

/// How often a message came back to a quorum queue, which the broker says with each delivery.
pub(super) const DELIVERY_COUNT: &str = "x-delivery-count";

/// Headers that are of one delivery, or by which a broker would send copies to the queues that they name: these had one already.
const OF_ONE_DELIVERY: [&str; 3] = ["CC", "BCC", DELIVERY_COUNT];

/// Those of a message of Quorate's own.
pub(super) fn own(id: &str, content_type: &'static str) -> BasicProperties {
    BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_content_type(content_type.into())
        .with_message_id(id.into())
}

/// Those of a message of somebody else's, without some of its headers. All are kept but these: its time to live is over, or it would be
/// lost in the other queue; and the name of the user who sent it, which a broker takes from that user alone.
pub(super) fn carried_over(properties: &BasicProperties, without: &[&str]) -> BasicProperties {
    let mut headers = FieldTable::default();
    for (name, value) in properties.headers().iter().flat_map(FieldTable::inner) {
        let name: &ShortString = name;
        if !without.contains(&name.as_str()) && !OF_ONE_DELIVERY.contains(&name.as_str()) {
            headers.insert(name.clone(), value.clone());
        }
    }
    let mut carried = BasicProperties::default().with_delivery_mode(PERSISTENT).with_headers(headers);
    if let Some(content_type) = properties.content_type() {
        carried = carried.with_content_type(content_type.clone());
    }
    if let Some(encoding) = properties.content_encoding() {
        carried = carried.with_content_encoding(encoding.clone());
    }
    if let Some(priority) = properties.priority() {
        carried = carried.with_priority(*priority);
    }
    if let Some(id) = properties.correlation_id() {
        carried = carried.with_correlation_id(id.clone());
    }
    if let Some(reply_to) = properties.reply_to() {
        carried = carried.with_reply_to(reply_to.clone());
    }
    if let Some(id) = properties.message_id() {
        carried = carried.with_message_id(id.clone());
    }
    if let Some(at) = properties.timestamp() {
        carried = carried.with_timestamp(*at);
    }
    if let Some(kind) = properties.kind() {
        carried = carried.with_type(kind.clone());
    }
    if let Some(app) = properties.app_id() {
        carried = carried.with_app_id(app.clone());
    }
    carried
}
