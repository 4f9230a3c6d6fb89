//! stub
pub fn worse(a: i16, b: i16) -> i16 {
    if a != 0 { a } else { b }
}
