pub mod kernel;
pub mod list;
pub mod undo;
