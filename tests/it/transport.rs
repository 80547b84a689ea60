//! The listeners as connections meet them: TLS, who may connect, what the admin listener asks for, and what happens to
//! calls when there are too many, or one goes wrong.

mod access;
mod overload;
mod program;
mod settings;
mod tls;
