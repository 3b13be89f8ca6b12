#![no_main]

use libfuzzer_sys::fuzz_target;
use sansocket::proto::{Header, MAX_HEADER_LEN, ReservedBits, HeaderRules};
use sansocket_fuzz::Script;

fuzz_target!(|data: &[u8]| {
    let mut script = Script(data);
    let flags = script.byte();
    let mut rsv = ReservedBits::NONE;
    for (bit, claimed) in [(4, ReservedBits::RSV1), (8, ReservedBits::RSV2), (16, ReservedBits::RSV3)] {
        if flags & bit != 0 {
            rsv = rsv.union(claimed);
        }
    }
    let rules = HeaderRules { masked: flags & 1 != 0, rsv, allow_long_length_form: flags & 2 != 0 };
    let input = &script.0[..script.0.len().min(20)];
    let whole = Header::decode(input, &rules);
    // What a prefix says stays said.
    for prefix in (0..input.len()).map(|n| &input[..n]) {
        let part = Header::decode(prefix, &rules);
        assert!(part == Ok(None) || part == whole);
    }
    let Ok(Some((header, len))) = whole else { return };
    assert_eq!(Header::decode(&input[..len - 1], &rules), Ok(None));
    assert_eq!(header.key.is_some(), rules.masked);
    let mut out = [0; MAX_HEADER_LEN];
    let n = header.encode(&mut out);
    assert_eq!(Header::decode(&out[..n], &rules), Ok(Some((header, n))));
    if !rules.allow_long_length_form {
        assert_eq!(&out[..n], &input[..len]);
    }
});
