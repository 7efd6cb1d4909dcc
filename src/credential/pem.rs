//! Files that hold certificates and lists: DER as it is, or PEM (RFC 7468), in which other things may stand as well.

use x509_parser::pem::Pem;

/// What the blocks with this label hold; for DER, the whole file as one.
///
/// `None` where a block with this label is damaged. None at all is an empty answer.
pub(super) fn blocks(bytes: &[u8], label: &str) -> Option<Vec<Vec<u8>>> {
    // Everything that we read is a SEQUENCE, and no text begins with this byte and a length.
    if super::der::element(bytes).is_some_and(|(first, _)| first.tag == super::der::SEQUENCE) {
        return Some(vec![bytes.to_vec()]);
    }
    let mut found = Vec::new();
    for block in Pem::iter_from_buffer(bytes) {
        let block = block.ok()?;
        if block.label == label {
            found.push(block.contents);
        }
    }
    Some(found)
}

/// The first of them.
pub(super) fn first(bytes: &[u8], label: &str) -> Option<Vec<u8>> {
    blocks(bytes, label)?.into_iter().next()
}
