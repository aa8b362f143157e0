//! The one pass over a document that decides whether it is well formed (XML 1.0, Namespaces 1.0) and within limits.
//!
//! quick-xml cuts the text into events; everything that it leaves unchecked is checked here: the root, end tags, names,
//! namespaces, characters, references, the XML declaration. Whoever wants more than the verdict hands in a [`Handler`];
//! the checker decides alone, so that texts which are only checked and texts whose tree is built cannot be judged
//! differently. It must not know what a handler makes of the document.

use super::{
    Limits, prolog,
    syntax::{self, Flaw, RawAttribute, RawAttributes, Written, is_space, place_of, shown, shown_character},
};
use crate::{
    code::{Code, Fault},
    limit,
};
use quick_xml::{Reader, errors::Error, events::Event};
use std::borrow::Cow;

/// The namespace that the prefix `xml` is bound to, always.
pub(super) const XML_NAMESPACE: &str = "http://www.w3.org/XML/1998/namespace";
/// The namespace of namespace declarations, which nothing may be bound to.
const XMLNS_NAMESPACE: &str = "http://www.w3.org/2000/xmlns/";
/// Up to so many attributes are compared each with each; more are sorted first.
const ATTRIBUTES_COMPARED_MAX: usize = 16;

/// What a handler learns, in document order, and only of documents that are right so far.
pub(super) trait Handler<'a> {
    /// An element begins at byte `at`.
    fn start(&mut self, at: usize, name: Written<'a>, scope: Scope<'a, '_>);
    /// The element that began last and has not ended yet ends.
    fn end(&mut self);
    /// Character data as written, without references; line ends are not yet normalized. Runs may come in pieces.
    fn text(&mut self, at: usize, raw: &'a str);
    /// A character that was written as a reference.
    fn character(&mut self, at: usize, character: char);
}

/// The handler of those who want the verdict alone.
impl Handler<'_> for () {
    fn start(&mut self, _: usize, _: Written<'_>, _: Scope<'_, '_>) {}
    fn end(&mut self) {}
    fn text(&mut self, _: usize, _: &str) {}
    fn character(&mut self, _: usize, _: char) {}
}

/// A namespace declaration: the prefix, empty for the default, and the namespace, empty for none.
#[derive(Debug)]
pub(super) struct Binding<'a> {
    pub prefix: &'a str,
    pub namespace: Namespace<'a>,
}

/// A namespace. Those of one scope are equal when their numbers are: they may be long, and are written once but meant by
/// every name, so that comparing them name by name could take forever.
#[derive(Debug)]
pub(super) struct Namespace<'a> {
    pub number: usize,
    pub text: Cow<'a, str>,
}

/// An attribute that is no namespace declaration.
pub(super) struct Attribute<'a> {
    pub raw: RawAttribute<'a>,
    /// Which binding its prefix stands for.
    binding: usize,
}

/// What is known of an element when it begins.
pub(super) struct Scope<'a, 'c> {
    bindings: &'c [Binding<'a>],
    bindings_before: usize,
    name_binding: usize,
    attributes: &'c [Attribute<'a>],
}

impl<'a, 'c> Scope<'a, 'c> {
    /// Its attributes as written, without namespace declarations.
    pub fn attributes(&self) -> &'c [Attribute<'a>] {
        self.attributes
    }

    /// The namespaces that it declares itself.
    pub fn declarations(&self) -> &'c [Binding<'a>] {
        &self.bindings[self.bindings_before..]
    }

    /// The namespace of the element's name.
    pub fn of_element(&self) -> Option<&'c Namespace<'a>> {
        self.namespace(self.name_binding)
    }

    /// The namespace of an attribute's name: none without a prefix, whatever the default namespace is.
    pub fn of_attribute(&self, attribute: &Attribute<'a>) -> Option<&'c Namespace<'a>> {
        self.namespace(attribute.binding)
    }

    fn namespace(&self, binding: usize) -> Option<&'c Namespace<'a>> {
        Some(&self.bindings[binding].namespace).filter(|namespace| !namespace.text.is_empty())
    }
}

/// What every document begins with: names without a prefix are in no namespace, and `xml` is bound.
const PREDEFINED: [(&str, &str); 2] = [("", ""), ("xml", XML_NAMESPACE)];
/// The binding of names that are in no namespace.
const UNBOUND: usize = 0;

/// Checks a whole document and tells the handler what is in it.
pub(super) fn check<'a>(text: &'a str, limits: &Limits, handler: &mut impl Handler<'a>) -> Result<(), Fault> {
    Checker::new(text, limits).run(handler).map_err(|flaw| flaw.into_fault(text))
}

/// An element that has begun and not ended.
struct Open<'a> {
    name: &'a str,
    at: usize,
    bindings_before: usize,
}

/// The state of one pass. Every name and value is a slice of the document; the stacks are the only allocations.
struct Checker<'a, 'l> {
    text: &'a str,
    limits: &'l Limits,
    open: Vec<Open<'a>>,
    bindings: Vec<Binding<'a>>,
    attributes: Vec<Attribute<'a>>,
    namespaces: usize,
    root_seen: bool,
    in_text: bool,
    nodes: usize,
}

impl<'a, 'l> Checker<'a, 'l> {
    fn new(text: &'a str, limits: &'l Limits) -> Self {
        let mut bindings = Vec::with_capacity(8);
        bindings.extend(PREDEFINED.into_iter().enumerate().map(|(number, (prefix, namespace))| Binding {
            prefix,
            namespace: Namespace { number, text: Cow::Borrowed(namespace) },
        }));
        Self {
            text,
            limits,
            open: Vec::with_capacity(16),
            bindings,
            attributes: Vec::with_capacity(8),
            namespaces: PREDEFINED.len(),
            root_seen: false,
            in_text: false,
            nodes: 0,
        }
    }

    fn run(mut self, handler: &mut impl Handler<'a>) -> Result<(), Flaw> {
        if self.text.starts_with('\u{FEFF}') {
            return Err(Flaw::malformed(0, "a second byte order mark stands here").help("Remove it."));
        }
        let forbidden = syntax::first_forbidden(self.text).unwrap_or(usize::MAX);
        let mut reader = Reader::from_str(self.text);
        let config = reader.config_mut();
        // These are checked here, with better words.
        config.check_end_names = false;
        config.allow_unmatched_ends = true;
        loop {
            let from = offset(reader.buffer_position());
            self.refuse_doctype(from)?;
            let event = reader.read_event();
            let to = offset(reader.buffer_position());
            let finished = matches!(event, Ok(Event::Eof));
            let verdict = self.event(event, from, to, handler);
            // Whichever comes first in the document is what its author should see first.
            match verdict {
                Err(flaw) if flaw.at < forbidden => return Err(flaw),
                _ if forbidden < to => return Err(self.forbidden(forbidden)),
                Err(flaw) => return Err(flaw),
                Ok(()) if finished => return Ok(()),
                Ok(()) => {}
            }
        }
    }

    #[cold]
    fn forbidden(&self, at: usize) -> Flaw {
        let number = self.text[at..].chars().next().map_or(0, u32::from);
        Flaw::malformed(at, format!("the character U+{number:04X} here is forbidden in XML"))
            .help("Remove it; binary data belongs into an attachment, or is written as base64.")
    }

    /// Before quick-xml looks at it: nothing inside a document type is worth a look.
    fn refuse_doctype(&self, at: usize) -> Result<(), Flaw> {
        let rest = &self.text.as_bytes()[at..];
        if rest.starts_with(b"<!") && rest.get(2..9).is_some_and(|word| word.eq_ignore_ascii_case(b"DOCTYPE")) {
            return Err(Flaw::new(Code::DocumentDoctype, at, "a DOCTYPE is not allowed"));
        }
        Ok(())
    }

    /// Judges one event, which spans the bytes `from..to`.
    fn event(
        &mut self,
        event: Result<Event<'_>, Error>,
        from: usize,
        to: usize,
        handler: &mut impl Handler<'a>,
    ) -> Result<(), Flaw> {
        match event {
            Ok(Event::Start(_)) => self.start(from, to - 1, handler),
            Ok(Event::Empty(_)) => {
                self.start(from, to - 2, handler)?;
                self.close(handler);
                Ok(())
            }
            Ok(Event::End(_)) => self.end(from, to, handler),
            Ok(Event::Text(_)) => self.characters(from, to, handler),
            Ok(Event::GeneralRef(_)) => self.reference(from, handler),
            Ok(Event::CData(_)) => {
                // <![CDATA[ … ]]>
                self.run_of_text(from, "a CDATA section")?;
                self.emit(from + 9, to - 3, handler)
            }
            Ok(Event::Comment(_)) => self.comment(from + 4, to - 3),
            Ok(Event::Decl(_) | Event::PI(_)) => prolog::instruction(self.text, from, to),
            Ok(Event::DocType(_)) => Err(Flaw::new(Code::DocumentDoctype, from, "a DOCTYPE is not allowed")),
            Ok(Event::Eof) => self.finish(),
            Err(error) => Err(self.broken(&error, from)),
        }
    }

    /// A start tag whose `<` is at `from` and whose `>` or `/>` is at `to`.
    fn start(&mut self, from: usize, to: usize, handler: &mut impl Handler<'a>) -> Result<(), Flaw> {
        let name = syntax::name(self.text, from + 1, to, "an element")?;
        if self.open.is_empty() && self.root_seen {
            let message = format!("a second root element, <{}>, begins here", shown(name.whole));
            return Err(Flaw::malformed(from, message).help("A document has one root; put an element around both."));
        }
        self.root_seen = true;
        self.in_text = false;
        let depth_max = self.limits.depth_max.min(limit::DOCUMENT_DEPTH_MAX);
        if self.open.len() >= depth_max {
            let message = format!("elements are nested deeper than {depth_max} here");
            return Err(Flaw::new(Code::DocumentTooDeep, from, message));
        }
        self.count(from)?;
        let bindings_before = self.bindings.len();
        self.read_attributes(from + 1 + name.whole.len(), to)?;
        let name_binding = self.resolve_names(name, from)?;
        let scope = Scope { bindings: &self.bindings, bindings_before, name_binding, attributes: &self.attributes };
        self.open.push(Open { name: name.whole, at: from, bindings_before });
        handler.start(from, name, scope);
        Ok(())
    }

    /// Fills `attributes` and `bindings` from what stands between a tag's name and its end.
    fn read_attributes(&mut self, at: usize, to: usize) -> Result<(), Flaw> {
        self.attributes.clear();
        let mut raw = RawAttributes { text: self.text, at, to };
        let mut count = 0;
        let declared_before = self.bindings.len();
        while let Some(attribute) = raw.next()? {
            count += 1;
            if count > self.limits.attributes_max {
                let message = format!("an element has more than {} attributes here", self.limits.attributes_max);
                return Err(Flaw::new(Code::DocumentTooComplex, attribute.name_at, message));
            }
            self.count(attribute.name_at)?;
            self.check_value(&attribute)?;
            if attribute.name.whole == "xmlns" {
                self.declare("", attribute, declared_before)?;
            } else if attribute.name.prefix() == "xmlns" {
                self.declare(attribute.name.local(), attribute, declared_before)?;
            } else {
                self.attributes.push(Attribute { raw: attribute, binding: UNBOUND });
            }
        }
        Ok(())
    }

    /// Every `&` begins a reference, and there is no `<`.
    fn check_value(&self, attribute: &RawAttribute<'a>) -> Result<(), Flaw> {
        let (mut at, to) = (attribute.value_at, attribute.value_at + attribute.value.len());
        let bytes = self.text.as_bytes();
        while at < to {
            match bytes[at] {
                b'<' => {
                    let message =
                        format!("a '<' stands in the value of the attribute '{}'", shown(attribute.name.whole));
                    return Err(
                        Flaw::malformed(at, message).help("Write it as &lt;, and see whether a quote is missing.")
                    );
                }
                b'&' => at = syntax::reference(self.text, at, to)?.1,
                _ => at += 1,
            }
        }
        Ok(())
    }

    /// Takes up `xmlns:prefix="…"`, or `xmlns="…"` with an empty prefix.
    fn declare(&mut self, prefix: &'a str, attribute: RawAttribute<'a>, declared_before: usize) -> Result<(), Flaw> {
        let namespace = syntax::normalized_value(attribute.value);
        let refuse = |message: String| Err(Flaw::malformed(attribute.name_at, message));
        if self.bindings[declared_before..].iter().any(|binding| binding.prefix == prefix) {
            return refuse(format!("the attribute '{}' is there twice", shown(attribute.name.whole)));
        }
        if prefix == "xmlns" {
            return refuse("the prefix 'xmlns' cannot be declared; it is reserved".into());
        }
        if (prefix == "xml") != (namespace == XML_NAMESPACE) {
            return refuse(format!("the prefix 'xml' and the namespace {XML_NAMESPACE} belong to each other alone"));
        }
        if namespace == XMLNS_NAMESPACE {
            return refuse(format!("nothing can be bound to the namespace {XMLNS_NAMESPACE}; it is reserved"));
        }
        if !prefix.is_empty() && namespace.is_empty() {
            return refuse(format!("the prefix '{}' is bound to no namespace", shown(prefix)));
        }
        if self.bindings.len() - PREDEFINED.len() >= self.limits.namespaces_max {
            let message = format!("more than {} namespace declarations are in scope here", self.limits.namespaces_max);
            return Err(Flaw::new(Code::DocumentTooComplex, attribute.name_at, message));
        }
        let known = self.bindings.iter().map(|binding| &binding.namespace).find(|known| known.text == namespace);
        let number = known.map_or(self.namespaces, |known| known.number);
        self.namespaces = self.namespaces.max(number + 1);
        self.bindings.push(Binding { prefix, namespace: Namespace { number, text: namespace } });
        Ok(())
    }

    /// Every prefix is declared, and no two attributes have the same name, be it by different prefixes. Notes the
    /// attributes' bindings, and returns that of the element's name.
    fn resolve_names(&mut self, name: Written<'a>, from: usize) -> Result<usize, Flaw> {
        let resolve = |name: Written<'a>, at: usize| {
            let meant = self.bindings.iter().rposition(|binding| binding.prefix == name.prefix());
            meant.ok_or_else(|| undeclared(name, at))
        };
        let name_binding = resolve(name, from + 1)?;
        for attribute in &mut self.attributes {
            if !attribute.raw.name.prefix().is_empty() {
                attribute.binding = resolve(attribute.raw.name, attribute.raw.name_at)?;
            }
        }
        let key =
            |attribute: &Attribute<'a>| (attribute.raw.name.local(), self.bindings[attribute.binding].namespace.number);
        let Some((earlier, later)) = first_duplicate(&self.attributes, key) else { return Ok(name_binding) };
        let (earlier, name) = (shown(earlier.raw.name.whole), shown(later.raw.name.whole));
        let message = if earlier == name {
            format!("the attribute '{name}' is there twice")
        } else {
            format!("the attributes '{earlier}' and '{name}' have the same name in the same namespace")
        };
        Err(Flaw::malformed(later.raw.name_at, message).help("Remove one of them."))
    }

    /// An end tag that spans the bytes `from..to`.
    fn end(&mut self, from: usize, to: usize, handler: &mut impl Handler<'a>) -> Result<(), Flaw> {
        let written = &self.text[from + 2..to - 1];
        let Some(open) = self.open.last() else {
            let name = syntax::name(self.text, from + 2, to - 1, "an element")?;
            let message = format!("the end tag </{}> closes nothing: no element is open", shown(name.whole));
            return Err(Flaw::malformed(from, message).help("Remove it, or add the start tag that is missing."));
        };
        if written != open.name {
            let name = syntax::name(self.text, from + 2, to - 1, "an element")?;
            if name.whole != open.name {
                let (name, opened) = (shown(name.whole), shown(open.name));
                let place = place_of(self.text, open.at);
                let message = format!("the end tag </{name}> does not close <{opened}>, which was opened at {place}");
                return Err(Flaw::malformed(from, message).help(format!("Write </{opened}>, or close it before.")));
            }
            let rest = from + 2 + name.whole.len();
            if let Some(extra) = self.text.as_bytes()[rest..to - 1].iter().position(|&byte| !is_space(byte)) {
                let message = format!("{} cannot stand in an end tag", shown_character(self.text, rest + extra));
                return Err(Flaw::malformed(rest + extra, message).help("Write nothing behind the name."));
            }
        }
        self.close(handler);
        Ok(())
    }

    fn close(&mut self, handler: &mut impl Handler<'a>) {
        if let Some(open) = self.open.pop() {
            self.bindings.truncate(open.bindings_before);
        }
        self.in_text = false;
        handler.end();
    }

    /// Text without references, in the bytes `from..to`.
    fn characters(&mut self, from: usize, to: usize, handler: &mut impl Handler<'a>) -> Result<(), Flaw> {
        let raw = &self.text[from..to];
        if self.open.is_empty() {
            return match raw.bytes().position(|byte| !is_space(byte)) {
                None => Ok(()),
                Some(extra) => self.outside(from + extra, "text"),
            };
        }
        let mut ends = raw.bytes().enumerate().filter(|&(_, byte)| byte == b'>');
        if let Some((end, _)) = ends.find(|&(end, _)| raw.as_bytes()[..end].ends_with(b"]]")) {
            return Err(Flaw::malformed(from + end - 2, "']]>' stands in text").help("Write it as ]]&gt;."));
        }
        self.emit(from, to, handler)
    }

    fn reference(&mut self, from: usize, handler: &mut impl Handler<'a>) -> Result<(), Flaw> {
        self.run_of_text(from, "a reference")?;
        let (character, _) = syntax::reference(self.text, from, self.text.len())?;
        if !self.in_text {
            self.count(from)?;
            self.in_text = true;
        }
        handler.character(from, character);
        Ok(())
    }

    fn emit(&mut self, from: usize, to: usize, handler: &mut impl Handler<'a>) -> Result<(), Flaw> {
        if from < to {
            if !self.in_text {
                self.count(from)?;
                self.in_text = true;
            }
            handler.text(from, &self.text[from..to]);
        }
        Ok(())
    }

    /// References and CDATA sections stand inside the root only.
    fn run_of_text(&self, at: usize, what: &str) -> Result<(), Flaw> {
        if self.open.is_empty() { self.outside(at, what) } else { Ok(()) }
    }

    fn outside(&self, at: usize, what: &str) -> Result<(), Flaw> {
        let side = if self.root_seen { "behind" } else { "before" };
        Err(Flaw::malformed(at, format!("{what} stands {side} the root element"))
            .help("Only white space, comments and processing instructions may stand there."))
    }

    /// The content of a comment, in the bytes `from..to`.
    fn comment(&self, from: usize, to: usize) -> Result<(), Flaw> {
        let content = &self.text.as_bytes()[from..to];
        match content.windows(2).position(|pair| pair == b"--") {
            Some(at) => {
                Err(Flaw::malformed(from + at, "'--' stands in a comment").help("Write '- -', or one of them."))
            }
            None if content.ends_with(b"-") => {
                Err(Flaw::malformed(to - 1, "a comment ends with '--->'").help("Leave a space before '-->'."))
            }
            None => Ok(()),
        }
    }

    /// The end of the document.
    fn finish(&self) -> Result<(), Flaw> {
        if let Some(open) = self.open.last() {
            let message = format!("the element <{}>, which begins here, is never closed", shown(open.name));
            return Err(Flaw::malformed(open.at, message)
                .help(format!("Add </{}>, and see whether the document was cut off.", shown(open.name))));
        }
        if !self.root_seen {
            return Err(Flaw::malformed(self.text.len(), "the document has no root element")
                .help("A document has exactly one root element."));
        }
        Ok(())
    }

    /// quick-xml could not find the end of what begins at `from`.
    #[cold]
    fn broken(&self, error: &Error, from: usize) -> Flaw {
        let rest = &self.text[from..];
        let help = "Close it, and see whether the document was cut off.";
        let unclosed = |what: &str| Flaw::malformed(from, format!("{what} that begins here is not closed")).help(help);
        if rest.starts_with('&') {
            return match syntax::reference(self.text, from, self.text.len()) {
                Err(flaw) => flaw,
                Ok(_) => unclosed("a reference"),
            };
        }
        if rest.starts_with("<!--") {
            return unclosed("a comment");
        }
        if rest.starts_with("<![CDATA[") {
            return unclosed("a CDATA section");
        }
        if rest.starts_with("<!") {
            return Flaw::malformed(from, "'<!' begins neither a comment nor a CDATA section here")
                .help("Write <!-- … --> or <![CDATA[ … ]]>; a literal '<' is written &lt;.");
        }
        if rest.starts_with("<?") {
            return unclosed("a processing instruction");
        }
        let name_at = from + if rest.starts_with("</") { 2 } else { 1 };
        let name = match syntax::name(self.text, name_at, self.text.len(), "an element") {
            Ok(name) => name,
            Err(flaw) => return flaw,
        };
        // Something is wrong inside the tag more often than its end is missing: an odd quote swallows the rest.
        let mut raw = RawAttributes { text: self.text, at: name_at + name.whole.len(), to: self.text.len() };
        loop {
            match raw.next().and_then(|attribute| attribute.map(|it| self.check_value(&it)).transpose()) {
                Ok(Some(())) => {}
                Ok(None) => break,
                Err(flaw) => return flaw,
            }
        }
        debug_assert!(matches!(error, Error::Syntax(_)), "{error}");
        unclosed("a tag")
    }

    /// Counts one element, attribute or run of text.
    fn count(&mut self, at: usize) -> Result<(), Flaw> {
        self.nodes += 1;
        if self.nodes > self.limits.nodes_max {
            let most = self.limits.nodes_max;
            let message = format!("the document has more than {most} elements, attributes and texts here");
            return Err(Flaw::new(Code::DocumentTooComplex, at, message));
        }
        Ok(())
    }
}

/// quick-xml counts in `u64`; the text is in memory, so that its offsets fit.
fn offset(position: u64) -> usize {
    usize::try_from(position).expect("an offset into a text in memory fits")
}

#[cold]
fn undeclared(name: Written<'_>, at: usize) -> Flaw {
    let prefix = shown(name.prefix());
    if prefix == "xmlns" {
        return Flaw::malformed(at, "the prefix 'xmlns' is reserved for namespace declarations");
    }
    Flaw::malformed(at, format!("the namespace prefix '{prefix}' of '{}' is not declared", shown(name.whole)))
        .help(format!("Declare it with xmlns:{prefix}=\"…\" on this element or one around it."))
}

/// Two attributes of the same key, the earlier first; of several pairs, the one that ends first.
fn first_duplicate<'s, 'a, K: Ord>(
    attributes: &'s [Attribute<'a>],
    key: impl Fn(&'s Attribute<'a>) -> K,
) -> Option<(&'s Attribute<'a>, &'s Attribute<'a>)> {
    if attributes.len() <= ATTRIBUTES_COMPARED_MAX {
        return attributes.iter().enumerate().find_map(|(index, later)| {
            let key_of_later = key(later);
            let earlier = attributes[..index].iter().find(|earlier| key(earlier) == key_of_later)?;
            Some((earlier, later))
        });
    }
    let mut sorted: Vec<_> = attributes.iter().map(|attribute| (key(attribute), attribute)).collect();
    // The sort is stable, so that equal names stay in the order of the document.
    sorted.sort_by(|(left, _), (right, _)| left.cmp(right));
    let pairs = sorted.windows(2).filter(|pair| pair[0].0 == pair[1].0).map(|pair| (pair[0].1, pair[1].1));
    pairs.min_by_key(|(_, later)| later.raw.name_at)
}
