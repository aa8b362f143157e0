//! Addresses of the other sub-node of a mirrored pair, as attributes of Acknowledged and Refused (M2). [`super::read`] and
//! [`super::write`] call it; whoever attaches goes by them in [`crate::reach`]. Who is active is not known here.

use super::envelope::Envelope;
use hansa_core::{code::Fault, limit};

/// Whether a text is host and port, as a CXIP listener is reached, and no longer than it may be.
#[must_use]
pub fn is_address(text: &str) -> bool {
    let plain =
        |character: char| character.is_ascii_graphic() && !matches!(character, ',' | '/' | '@' | '"' | '<' | '&');
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    text.len() <= limit::CXIP_ADDRESS_BYTES_MAX
        && !host.is_empty()
        && text.chars().all(plain)
        && port.bytes().all(|byte| byte.is_ascii_digit())
        && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// The attribute `alternates`: addresses with spaces between.
pub(super) fn alternates(envelope: &mut Envelope) -> Result<Vec<String>, Fault> {
    let Some(value) = envelope.take("alternates") else { return Ok(Vec::new()) };
    let alternates: Vec<_> = value.split_ascii_whitespace().map(ToOwned::to_owned).collect();
    if alternates.len() > limit::CXIP_ALTERNATES_MAX || !alternates.iter().all(|address| is_address(address)) {
        let most = limit::CXIP_ALTERNATES_MAX;
        return Err(envelope.fault(format!("the attribute alternates has at most {most} addresses, host:port each")));
    }
    Ok(alternates)
}

/// The attribute `address`.
pub(super) fn address(envelope: &mut Envelope) -> Result<Option<String>, Fault> {
    match envelope.take("address") {
        Some(address) if !is_address(&address) => Err(envelope.fault("the attribute address is an address, host:port")),
        address => Ok(address.map(Into::into)),
    }
}

/// The value of `alternates`; none where there is nothing to say. What is no address, or one too many, is left out: it
/// came from somebody's configuration, and the others are good.
pub(super) fn joined(alternates: &[String]) -> Option<String> {
    let fit = alternates.iter().map(String::as_str).filter(|address| is_address(address));
    let fit: Vec<_> = fit.take(limit::CXIP_ALTERNATES_MAX).collect();
    (!fit.is_empty()).then(|| fit.join(" "))
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, Message, NAMESPACE, read::message};
    use super::*;
    use hansa_core::code::Code;

    #[test]
    fn an_address_is_host_and_port_and_nothing_else() {
        for address in ["node.acme.example:7400", "127.0.0.1:1", "[::1]:65535", "[fe80::1%eth0]:7400"] {
            assert!(is_address(address), "{address}");
        }
        let long = format!("{}:7400", "a".repeat(limit::CXIP_ADDRESS_BYTES_MAX - 5));
        assert!(is_address(&long));
        for nonsense in
            ["", ":7400", "host", "host:", "host:0", "host:65536", "host:+1", "a b:1", "a,b:1", "http://a:1", "ü:1"]
        {
            assert!(!is_address(nonsense), "{nonsense}");
        }
        assert!(!is_address(&format!("a{long}")));
    }

    #[test]
    fn what_is_no_address_is_neither_read_nor_written() {
        let read = |content: &str| message(Kind::Acknowledge, content.as_bytes());
        let acknowledged = |value: &str| format!("<Acknowledged xmlns='{NAMESPACE}' alternates='{value}'/>");
        let Ok(Message::Acknowledged(read_back)) = read(&acknowledged(" a:1  b:2 ")) else { panic!("it is one") };
        assert_eq!(read_back.alternates, ["a:1", "b:2"]);
        let many = "a:1 ".repeat(limit::CXIP_ALTERNATES_MAX + 1);
        for value in ["a", "a:1 b", &*many] {
            assert_eq!(read(&acknowledged(value)).unwrap_err().code, Code::MessageMalformed, "{value}");
        }
        let refused = format!(
            "<Refused xmlns='{NAMESPACE}' code='node-not-active' address='no address'><Message>no</Message></Refused>"
        );
        assert_eq!(read(&refused).unwrap_err().code, Code::MessageMalformed);
        let told = ["a:1".to_owned(), "two words:1".to_owned()];
        assert_eq!(joined(&told).as_deref(), Some("a:1"));
        assert_eq!(joined(&told[1..]), None);
        assert_eq!(joined(&vec![told[0].clone(); 20]).unwrap().split(' ').count(), limit::CXIP_ALTERNATES_MAX);
    }
}
