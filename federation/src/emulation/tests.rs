//! What an emulated line promises.

use super::*;
use futures::{AsyncReadExt, AsyncWriteExt};
use std::time::Instant;
use tokio::net::TcpListener;

fn latency(destination: SocketAddr, one_way_ms: u32) -> Latency {
    Latency { destination, one_way_ms, jitter_ms: 0, cut: false }
}

/// The dialing end of a connection to a new listener, and the plain accepting end.
async fn connection(one_way_ms: u32, jitter_ms: u32) -> (EmulatedStream, tokio::net::TcpStream, Emulation, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let destination = listener.local_addr().unwrap();
    let emulation = Emulation::new(vec![Latency { jitter_ms, ..latency(destination, one_way_ms) }]);
    let state = emulation.line(destination).unwrap();
    let socket = tokio::net::TcpStream::connect(destination).await.unwrap();
    let stream = if state.delayed {
        EmulatedStream(Kind::Delayed(Line::new(socket, state)))
    } else {
        EmulatedStream(Kind::Direct(TcpStream(socket), Some(state)))
    };
    (stream, listener.accept().await.unwrap().0, emulation, destination)
}

#[tokio::test]
async fn a_round_trip_takes_at_least_both_ways() {
    let (mut near, far, ..) = connection(40, 0).await;
    let echo = tokio::spawn(async move {
        let (mut read, mut write) = far.into_split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
    });
    let begun = Instant::now();
    near.write_all(b"ping").await.unwrap();
    let mut answer = [0; 4];
    near.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"ping");
    assert!(begun.elapsed() >= Duration::from_millis(80), "{:?}", begun.elapsed());
    near.close().await.unwrap();
    echo.await.unwrap();
}

#[tokio::test]
async fn jitter_keeps_the_order_of_bytes() {
    let (mut near, mut far, ..) = connection(1, 8).await;
    let sent: Vec<u8> = (0..400_000_u32).map(|number| (number % 251) as u8).collect();
    let expected = sent.clone();
    let writer = tokio::spawn(async move {
        for part in sent.chunks(997) {
            near.write_all(part).await.unwrap();
        }
        near.close().await.unwrap();
    });
    let mut arrived = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut far, &mut arrived).await.unwrap();
    writer.await.unwrap();
    assert!(arrived == expected, "every byte, in order, and then the end");
}

#[tokio::test]
async fn many_bytes_are_under_way_at_once() {
    // Were the line to wait for each chunk of 64 KiB, four megabytes at one second would take more than a minute.
    let (mut near, mut far, ..) = connection(1_000, 0).await;
    let writer = tokio::spawn(async move {
        near.write_all(&vec![7; 4 * 1024 * 1024]).await.unwrap();
        near.close().await.unwrap();
    });
    let mut arrived = Vec::new();
    let all = tokio::io::AsyncReadExt::read_to_end(&mut far, &mut arrived);
    tokio::time::timeout(Duration::from_secs(50), all).await.expect("in less than a delay per chunk").unwrap();
    writer.await.unwrap();
    assert_eq!(arrived.len(), 4 * 1024 * 1024);
}

#[tokio::test]
async fn a_cut_breaks_running_lines_with_and_without_delay_and_refuses_new_ones() {
    for one_way_ms in [0, 5] {
        let (mut near, _far, emulation, destination) = connection(one_way_ms, 0).await;
        let reader = tokio::spawn(async move {
            let mut buffer = [0; 1];
            near.read(&mut buffer).await
        });
        tokio::task::yield_now().await;
        emulation.set(vec![Latency { cut: true, ..latency(destination, one_way_ms) }]);
        assert!(!matches!(reader.await.unwrap(), Ok(1..)), "the reader learns that the line is broken");
        assert_eq!(emulation.line(destination).unwrap_err().kind(), io::ErrorKind::HostUnreachable);
        emulation.set(vec![]);
        assert!(emulation.line(destination).is_ok(), "and a healed line can be used again");
    }
}

#[test]
fn an_entry_without_port_stands_for_every_port() {
    let table = [latency("127.0.0.1:0".parse().unwrap(), 1), latency("127.0.0.1:80".parse().unwrap(), 2)];
    let found = |text: &str| find(&table, text.parse().unwrap()).map(|latency| latency.one_way_ms);
    assert_eq!((found("127.0.0.1:80"), found("127.0.0.1:81"), found("127.0.0.2:80")), (Some(2), Some(1), None));
}
