//! The HTTP server: connections on a thread of their own, so that a busy node still answers and a busy scraper costs the node little.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_http::{HttpService, KeepAlive};
use actix_rt::Arbiter;
use actix_service::{IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt, map_config};
use actix_web::dev::AppConfig;
use actix_web::{App, Error, HttpResponse, middleware, web};
use futures_util::future::Abortable;
use tidegate_actors::Observer;
use tidegate_actors::patience::within;
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use super::api;
use super::guard::{self, Access};
use super::leases::{self, OfConnection};
use super::operators::{Role, identity};
use super::own_token::OwnToken;
use super::places::{Client, Place, Places};
use super::settings::Door;
use super::surface::Surface;
use super::transport::{Stream, Transport};

/// A client that has not sent the head of its request, or finished its TLS handshake, by then is cut off.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Of an answer that is not sent yet, the library buffers this and one piece more ([`leases::PIECE_BYTES`]).
const WRITE_BUFFER_BYTES: usize = 16 << 10;
/// Pause when all places are protected, and after a failed `accept`.
const BACKOFF: Duration = Duration::from_millis(5);

/// The thread that serves; it ends with this.
struct Worker(Arbiter);

impl Drop for Worker {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Serves, and begins anew when the door changes. Open connections are cut off then.
pub(super) async fn serve(
    listener: io::Result<TcpListener>,
    mut doors: watch::Receiver<Door>,
    own_token: OwnToken,
    surface: Surface,
) -> io::Result<()> {
    let (listener, surface) = (listener?, web::Data::new(surface));
    listener.set_nonblocking(true)?;
    loop {
        let door = doors.borrow_and_update().clone();
        if door.token.is_none() {
            own_token.write().await;
        }
        let access = Access::of(&door, own_token.token());
        let tls = door.tls.map(|tls| TlsAcceptor::from(http_1(tls.server)));
        let (listener, surface) = (listener.try_clone()?, surface.clone());
        let (end, ended) = oneshot::channel();
        let worker = Worker(Arbiter::new());
        worker.0.spawn_fn(move || {
            actix_rt::spawn(async move {
                let _ = end.send(accept(listener, access, tls, surface).await); // nobody waits if the door has changed
            });
        });
        tokio::select! {
            ended = ended => return ended.unwrap_or_else(|_| Err(io::Error::other("its thread has panicked"))),
            Ok(()) = doors.changed() => {}
        }
    }
}

/// Only HTTP/1.1 is offered: one connection is one request.
fn http_1(server: Arc<rustls::ServerConfig>) -> Arc<rustls::ServerConfig> {
    let mut server = Arc::unwrap_or_clone(server);
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(server)
}

async fn accept(
    listener: TcpListener,
    access: Access,
    tls: Option<TlsAcceptor>,
    surface: web::Data<Surface>,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let leases = surface.leases.clone();
    let (access, places) = (Rc::new(access), Places::default());
    let observer = surface.observer.clone();
    let app = App::new()
        .app_data(web::Data::from(Arc::new((*access).clone())))
        .app_data(web::Data::new(surface.observer.clone()))
        .app_data(surface)
        .app_data(web::Data::new(leases.clone()))
        .wrap(middleware::from_fn(guard::guard))
        .wrap(middleware::from_fn(leases::lease))
        .configure(api::configure);
    let app = app.into_factory().map_err(|error: Error| -> HttpResponse { error.as_response_error().error_response() });
    let http = HttpService::<Transport, _, _>::build()
        .keep_alive(KeepAlive::Disabled)
        .client_request_timeout(REQUEST_TIMEOUT)
        .client_disconnect_timeout(Duration::from_secs(1))
        .h1_write_buffer_size(WRITE_BUFFER_BYTES)
        .on_connect_ext(|transport: &Transport, extensions| {
            extensions.insert(transport.client.clone());
        })
        .h1(map_config(app, |()| AppConfig::default()));
    let http = Rc::new(http.new_service(()).await.map_err(|()| io::Error::other("its routes cannot be set up"))?);
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "admin surface cannot accept connections; retrying");
                sleep(BACKOFF).await;
                continue;
            }
        };
        let (place, registration) = loop {
            match places.take(peer.ip(), Instant::now()) {
                Some(place) => break place,
                None => sleep(BACKOFF).await,
            }
        };
        let lease = leases.of_connection(tls.is_some());
        let (http, tls, access, observer) = (http.clone(), tls.clone(), access.clone(), observer.clone());
        actix_rt::spawn(Abortable::new(
            async move {
                if let Some(transport) = connect(stream, tls, &access, &place, lease, (&observer, peer)).await {
                    let _ = http.call((transport, Some(peer))).await; // the end of a connection is no event, whatever its reason
                }
                drop(place);
            },
            registration,
        ));
    }
}

/// `None`: the handshake has failed, or takes too long.
async fn connect(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    access: &Access,
    place: &Place,
    lease: OfConnection,
    (observer, peer): (&Observer, SocketAddr),
) -> Option<Transport> {
    let _ = stream.set_nodelay(true); // slower without
    let (stream, role, certificate): (Box<dyn Stream>, _, _) = match tls {
        None => (Box::new(stream), None, String::new()),
        Some(tls) => {
            let accepted = within(REQUEST_TIMEOUT, tls.accept(stream)).await.ok()?;
            let stream = accepted.map_err(|error| observer.report_admin_handshake(peer, &error)).ok()?;
            let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let role = certificate.map(|certificate| Role::of(certificate, &access.operators));
            let certificate = certificate.map(|certificate| identity(certificate)).unwrap_or_default();
            (Box::new(stream), role, certificate)
        }
    };
    let client = Client { role, certificate: certificate.into(), standing: place.standing.clone() };
    Some(Transport::new(stream, client, lease))
}
