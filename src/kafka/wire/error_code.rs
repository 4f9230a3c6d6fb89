//! stub
pub fn worse(a: i16, b: i16) -> i16 {
    if a != 0 { a } else { b }
}
/// stub
pub fn failure(code: i16) -> Option<crate::event::Failure> {
    if code == 0 {
        None
    } else {
        Some(crate::event::Failure {
            name: "X",
            class: crate::event::FaultClass::Broker,
            retriable: false,
        })
    }
}
