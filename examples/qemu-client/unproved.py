"""TLS 1.3 servers that prove nothing, as anyone on the path of a connection can run. Just enough of
RFC 8446, with AES and elliptic curves by the openssl program.
"""
import hashlib
import hmac
import os
import struct
import subprocess
import tempfile


def openssl(*arguments, data=b""):
    return subprocess.run(["openssl", *arguments], input=data, check=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL).stdout


def share_secret(theirs):
    """Our point of P-256, and what it has in common with theirs."""
    with tempfile.TemporaryDirectory() as directory:
        ours, peer = directory + "/ours.pem", directory + "/peer.der"
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", ours)
        public = openssl("pkey", "-in", ours, "-pubout", "-outform", "DER")
        with open(peer, "wb") as f:
            f.write(public[:-65] + theirs)
        return public[-65:], openssl("pkeyutl", "-derive", "-inkey", ours, "-peerkey", peer, "-peerform", "DER")


def expand(secret, label, context, length):
    """HKDF-Expand-Label, §7.1, for no more than one hash."""
    label = b"tls13 " + label
    info = struct.pack(">HB", length, len(label)) + label + bytes([len(context)]) + context
    return hmac.digest(secret, info + b"\x01", "sha256")[:length]


def seal(key, nonce, plain, header):
    """AES-128-GCM."""
    counter = nonce + b"\0\0\0\2"
    cipher = openssl("enc", "-aes-128-ctr", "-K", key.hex(), "-iv", counter.hex(), data=plain)
    # The first block enciphers the tag, and a block of zeros without a nonce is the key of the hash.
    first = openssl("enc", "-aes-128-ctr", "-K", key.hex(), "-iv", (nonce + b"\0\0\0\1").hex(), data=bytes(16))
    point = int.from_bytes(openssl("enc", "-aes-128-ctr", "-K", key.hex(), "-iv", bytes(16).hex(), data=bytes(16)), "big")

    def times(x):
        product, y = 0, point
        for bit in range(127, -1, -1):
            product ^= y if x >> bit & 1 else 0
            y = y >> 1 ^ (0xE1 << 120 if y & 1 else 0)
        return product

    blocks = b"".join(part + bytes(-len(part) % 16) for part in (header, cipher))
    blocks += struct.pack(">QQ", len(header) * 8, len(cipher) * 8)
    tag = 0
    for at in range(0, len(blocks), 16):
        tag = times(tag ^ int.from_bytes(blocks[at:at + 16], "big"))
    return cipher + (tag ^ int.from_bytes(first, "big")).to_bytes(16, "big")


def message(kind, body):
    return struct.pack(">I", kind << 24 | len(body)) + body


def shake_hands(s, empty=False):
    """The server's half of a handshake: a ServerHello, and Finished without a certificate. Or, `empty`, a record
    behind the first with nothing in it, not even a type."""
    stream = s.makefile("rb")
    kind, _, length = struct.unpack(">BHH", stream.read(5))
    hello = stream.read(length)
    assert (kind, hello[0]) == (22, 1), "a ClientHello"
    session = hello[38:39 + hello[38]]
    at = hello.index(b"\x00\x17\x00\x41\x04") + 4  # the share for P-256
    ours, secret = share_secret(hello[at:at + 65])
    extensions = b"\x00\x2b\x00\x02\x03\x04" + b"\x00\x33\x00\x45\x00\x17\x00\x41" + ours
    answer = message(2, b"\x03\x03" + os.urandom(32) + session + b"\x13\x01\x00"
                     + struct.pack(">H", len(extensions)) + extensions)
    s.sendall(struct.pack(">BHH", 22, 0x0303, len(answer)) + answer)

    none = hashlib.sha256().digest()
    early = hmac.digest(bytes(32), bytes(32), "sha256")
    handshake = hmac.digest(expand(early, b"derived", none, 32), secret, "sha256")
    traffic = expand(handshake, b"s hs traffic", hashlib.sha256(hello + answer).digest(), 32)
    nothing = message(8, b"\0\0")  # EncryptedExtensions
    heard = hashlib.sha256(hello + answer + nothing).digest()
    finished = message(20, hmac.digest(expand(traffic, b"finished", b"", 32), heard, "sha256"))
    plain = b"" if empty else nothing + finished + b"\x16"
    header = struct.pack(">BHH", 23, 0x0303, len(plain) + 16)
    s.sendall(header + seal(expand(traffic, b"key", b"", 16), expand(traffic, b"iv", b"", 12), plain, header))
