//! The app behind every door: answers each request with 1 KiB, or with 10 MB under `/big`. One thread a connection, so
//! that it waits for nobody; its time is not counted.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

/// Bytes under `/`.
pub const SMALL: usize = 1024;
/// Bytes under `/big`.
pub const BIG: usize = 10_000_000;

/// Serves on a port of its own until the process ends.
///
/// # Errors
/// When no port can be had.
pub fn start() -> std::io::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            // Connections of a program that is told to end break off; that is its right.
            std::thread::spawn(move || drop(serve(socket)));
        }
    });
    Ok(port)
}

fn serve(mut socket: TcpStream) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let answer = |size: usize| {
        let mut text =
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {size}\r\n\r\n").into_bytes();
        text.resize(text.len() + size, b'x');
        text
    };
    let small = answer(SMALL);
    let mut big = Vec::new();
    let mut request = Vec::new();
    let mut block = [0; 4096];
    loop {
        let count = socket.read(&mut block)?;
        if count == 0 {
            return Ok(());
        }
        request.extend_from_slice(&block[..count]);
        // Doors send a request when the one before is answered, so that a head's end is the end of what came.
        if !request.ends_with(b"\r\n\r\n") {
            continue;
        }
        if request.starts_with(b"GET /big ") {
            if big.is_empty() {
                big = answer(BIG);
            }
            socket.write_all(&big)?;
        } else {
            socket.write_all(&small)?;
        }
        request.clear();
    }
}
