//! The network card: embassy-net's driver over virtio.

use core::cell::RefCell;
use core::sync::atomic::{Ordering, fence};
use core::task::Context;

use embassy_net_driver::{self as driver, Capabilities, HardwareAddress, LinkState};
use embassy_sync::waitqueue::AtomicWaker;
use static_cell::ConstStaticCell;
use virtio_drivers::device::net::VirtIONetRaw;
use virtio_drivers::transport::DeviceType;
use virtio_drivers::transport::mmio::MmioTransport;

use super::dma::Memory;
use super::plic;
use super::register::Register;
use super::virtio::{self, slot};

/// A queue's length, and how many frames are on their way at most, in each direction.
const FRAMES: usize = 8;
/// An Ethernet frame without its check sum.
const MTU: usize = 1514;
/// A frame, and in front of it the header between driver and card.
const BUFFER: usize = MTU + 12;

type Card = VirtIONetRaw<Memory, MmioTransport<'static>, FRAMES>;

pub struct Device {
    /// Both tokens of embassy-net need the card, and the stack uses one inside the other: no borrow
    /// may be held while it runs.
    card: RefCell<Card>,
    /// A buffer's index is its token: the queue gives the descriptor that was freed last out first.
    received: &'static mut [[u8; BUFFER]; FRAMES],
    transmitted: &'static mut [Outgoing; FRAMES],
}

/// The card owns the first bytes of the buffer while there is a token for them.
struct Outgoing {
    buffer: [u8; BUFFER],
    in_flight: Option<InFlight>,
}

struct InFlight {
    token: u16,
    length: usize,
}

static RECEIVED: ConstStaticCell<[[u8; BUFFER]; FRAMES]> = ConstStaticCell::new([[0; BUFFER]; FRAMES]);
static TRANSMITTED: ConstStaticCell<[Outgoing; FRAMES]> =
    ConstStaticCell::new([const { Outgoing { buffer: [0; BUFFER], in_flight: None } }; FRAMES]);

/// Of the one task that drives the network.
static WAKER: AtomicWaker = AtomicWaker::new();

impl Device {
    /// Finds the card; once, for the buffers are statics.
    pub fn probe() -> Option<Self> {
        let (interrupt, transport) = virtio::find(DeviceType::Network)?;
        let mut card = Card::new(transport).ok()?;
        let received = RECEIVED.take();
        for (index, buffer) in received.iter_mut().enumerate() {
            offer(&mut card, index as u16, buffer);
        }
        plic::enable(interrupt);
        Some(Self { card: RefCell::new(card), received, transmitted: TRANSMITTED.take() })
    }
}

/// The card has received or sent something: the driving task looks for itself.
pub fn interrupt(interrupt: usize) {
    // SAFETY: the interrupt registers of a slot; a write to the second acknowledges.
    let pending: Register<u32> = unsafe { Register::at(slot(interrupt) + 0x60) };
    // SAFETY: as above.
    let acknowledge: Register<u32> = unsafe { Register::at(slot(interrupt) + 0x64) };
    acknowledge.write(pending.read());
    WAKER.wake();
}

impl driver::Driver for Device {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Transmit<'a>;

    fn receive(&mut self, context: &mut Context<'_>) -> Option<(Received<'_>, Transmit<'_>)> {
        self.watch(context);
        let token = self.card.borrow().poll_receive()?;
        let outgoing = self.transmitted.iter_mut().find(|it| it.in_flight.is_none())?;
        let buffer = &mut self.received[usize::from(token)];
        let card = &self.card;
        Some((Received { card, token, buffer }, Transmit { card, outgoing }))
    }

    fn transmit(&mut self, context: &mut Context<'_>) -> Option<Transmit<'_>> {
        self.watch(context);
        let outgoing = self.transmitted.iter_mut().find(|it| it.in_flight.is_none())?;
        let card = &self.card;
        Some(Transmit { card, outgoing })
    }

    fn link_state(&mut self, _: &mut Context<'_>) -> LinkState {
        LinkState::Up
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = MTU;
        capabilities
    }

    fn hardware_address(&self) -> HardwareAddress {
        HardwareAddress::Ethernet(self.card.borrow().mac_address())
    }
}

impl Device {
    /// Before each look at the queues. The waker comes first, or an interrupt in between would wake
    /// nobody. The fence is for the card: it must see how far we have read before we look whether
    /// there is more, or it sees no need for that interrupt.
    fn watch(&mut self, context: &mut Context<'_>) {
        WAKER.register(context.waker());
        fence(Ordering::SeqCst);
        let card = self.card.get_mut();
        while let Some(token) = card.poll_transmit() {
            let sent = self.transmitted.iter_mut().find_map(|it| {
                let sent = it.in_flight.take_if(|sent| sent.token == token)?;
                Some(&it.buffer[..sent.length])
            });
            let sent = sent.expect("the card returns what it was given");
            // SAFETY: the same bytes as in `transmit_begin`, which gave out this token.
            unsafe { card.transmit_complete(token, sent) }.expect("it was at the head");
        }
    }
}

pub struct Received<'a> {
    card: &'a RefCell<Card>,
    token: u16,
    buffer: &'a mut [u8; BUFFER],
}

impl driver::RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, read: F) -> R {
        // SAFETY: the same buffer as in `receive_begin`, which gave out this token.
        let frame = unsafe { self.card.borrow_mut().receive_complete(self.token, self.buffer) };
        let (header, length) = frame.expect("it was at the head");
        let result = read(&mut self.buffer[header..header + length]);
        offer(&mut self.card.borrow_mut(), self.token, self.buffer);
        result
    }
}

pub struct Transmit<'a> {
    card: &'a RefCell<Card>,
    outgoing: &'a mut Outgoing,
}

impl driver::TxToken for Transmit<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let Outgoing { buffer, in_flight } = self.outgoing;
        let header = self.card.borrow().fill_buffer_header(buffer).expect("it fits");
        let length = header + length;
        let result = write(&mut buffer[header..length]);
        // SAFETY: nobody touches the bytes while `in_flight` has a token for them.
        let token = unsafe { self.card.borrow_mut().transmit_begin(&buffer[..length]) };
        let token = token.expect("as many descriptors as buffers");
        *in_flight = Some(InFlight { token, length });
        result
    }
}

/// Gives the card a buffer to receive into.
fn offer(card: &mut Card, expected: u16, buffer: &mut [u8; BUFFER]) {
    // SAFETY: nobody touches the buffer before the card has used its token.
    let token = unsafe { card.receive_begin(buffer) }.expect("as many descriptors as buffers");
    assert_eq!(token, expected, "the index of a buffer is its token");
}
