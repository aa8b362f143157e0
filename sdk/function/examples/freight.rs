//! A library of two functions: what a parcel costs, and a document that is made of another.
//!
//! ```text
//! rustup target add wasm32-unknown-unknown
//! cargo build --release --target wasm32-unknown-unknown -p hansa-function --example freight
//! hansa library add freight target/wasm32-unknown-unknown/release/examples/freight.wasm
//! ```

hansa_function::export! {
    /// What a parcel of this weight costs to this zone, in euros.
    fn shipping_cost(kilograms: Number, zone: Text) -> Number {
        let (base, each): (Number, Number) = match zone.trim() {
            "DE" => ("3.90".parse()?, "0.45".parse()?),
            "EU" => ("7.50".parse()?, "0.85".parse()?),
            zone => return Err(format!("nothing is sent to zone '{zone}'")),
        };
        base.plus(each.times(kilograms)?)?.rounded(2)
    }

    /// The label of a parcel.
    fn label(recipient: Text, express: Truth) -> Document {
        let recipient = recipient.replace('&', "&amp;").replace('<', "&lt;");
        let service = if express { "express" } else { "standard" };
        Ok(Document(format!("<Label service=\"{service}\"><Recipient>{recipient}</Recipient></Label>")))
    }
}

#[cfg(test)]
mod tests {
    use super::{label, shipping_cost};

    fn cost(kilograms: &str, zone: &str) -> Result<String, String> {
        shipping_cost(kilograms.parse()?, zone.to_owned()).map(|cost| cost.to_string())
    }

    #[test]
    fn a_parcel_costs_by_weight_and_zone() {
        assert_eq!(cost("2.5", "DE").as_deref(), Ok("5.03"));
        assert_eq!(cost("10", "EU").as_deref(), Ok("16.00"));
        assert!(cost("1", "MARS").unwrap_err().contains("zone 'MARS'"));
    }

    #[test]
    fn a_label_is_a_document_whatever_the_recipient_is_called() {
        let label = label("Müller & Söhne".to_owned(), true).unwrap();
        assert_eq!(label.0, "<Label service=\"express\"><Recipient>Müller &amp; Söhne</Recipient></Label>");
    }
}
