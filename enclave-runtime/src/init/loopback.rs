//! Brings the loopback interface up, by rtnetlink(7): the other way is an ioctl, which takes unsafe code.

use std::os::fd::AsRawFd as _;

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

/// `struct nlmsghdr`, linux/netlink.h.
const HEADER_BYTES: usize = 16;

/// With `struct ifinfomsg`, linux/rtnetlink.h.
const REQUEST_BYTES: usize = HEADER_BYTES + 16;

const NLMSG_ERROR: u16 = 2;
const RTM_NEWLINK: u16 = 16;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const IFF_UP: u32 = 1;

pub(super) fn bring_up() -> Result<(), Errno> {
    let request = up_request(if_nametoindex("lo")?);
    let netlink =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    send(netlink.as_raw_fd(), &request, MsgFlags::empty())?;
    let mut reply = [0; 256];
    let length = recv(netlink.as_raw_fd(), &mut reply, MsgFlags::empty())?;
    acknowledged(&reply[..length])
}

/// A request to set the flag "up" of an interface and no other.
fn up_request(interface_index: u32) -> [u8; REQUEST_BYTES] {
    let mut request = [0; REQUEST_BYTES];
    let length = u32::try_from(REQUEST_BYTES).expect("32 bytes");
    request[..4].copy_from_slice(&length.to_ne_bytes());
    request[4..6].copy_from_slice(&RTM_NEWLINK.to_ne_bytes());
    request[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
    // Sequence number and port stay 0: there is one request. So do the family (any) and the type of the interface.
    request[20..24].copy_from_slice(&interface_index.to_ne_bytes());
    request[24..28].copy_from_slice(&IFF_UP.to_ne_bytes());
    request[28..].copy_from_slice(&IFF_UP.to_ne_bytes());
    request
}

/// An acknowledgement is an error of number 0; others are negative (netlink(7)).
fn acknowledged(reply: &[u8]) -> Result<(), Errno> {
    let kind = reply.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    let number = reply.get(HEADER_BYTES..HEADER_BYTES + 4).and_then(|bytes| bytes.try_into().ok());
    match (kind, number.map(i32::from_ne_bytes)) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(number)) => Err(Errno::from_raw(number.saturating_neg())),
        _ => Err(Errno::EBADMSG),
    }
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::{acknowledged, up_request};

    #[test]
    fn the_request_is_one_that_iproute2_sends() {
        // `strace ip link set lo up`, except its sequence number.
        let expected = "20000000100005000000000000000000 00000000010000000100000001000000";
        let request = base16ct::lower::encode_string(&up_request(1));
        assert_eq!(request, expected.replace(' ', ""));
    }

    #[test]
    fn only_an_acknowledgement_is_one() {
        let reply = |kind: u16, number: i32| {
            let mut reply = [0; 36];
            reply[4..6].copy_from_slice(&kind.to_ne_bytes());
            reply[16..20].copy_from_slice(&number.to_ne_bytes());
            acknowledged(&reply)
        };
        assert_eq!(reply(2, 0), Ok(()));
        assert_eq!(reply(2, -1), Err(Errno::EPERM));
        assert_eq!(reply(3, 0), Err(Errno::EBADMSG));
        assert_eq!(acknowledged(&[0; 19]), Err(Errno::EBADMSG));
        assert_eq!(acknowledged(&[]), Err(Errno::EBADMSG));
    }
}
