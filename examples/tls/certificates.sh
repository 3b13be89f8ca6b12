#!/usr/bin/env bash
# certificates.sh DIR NAME...: for tests, an authority of its own (ca.pem, ca.der) and a certificate that it gives to
# a server (cert.pem, key.pem) with these host names and IPv4 addresses. ECDSA P-256. DAYS=30 to begin with now, or
# less than 0 for one that is out of date.
set -euo pipefail
DIR=$1 SAN=
shift
for name; do
  [[ $name =~ ^[0-9.]+$ ]] && kind=IP || kind=DNS
  SAN+=${SAN:+,}$kind:$name
done
mkdir -p "$DIR"
cd "$DIR"
key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc)
openssl req -x509 "${key[@]}" -keyout ca-key.pem -out ca.pem -days 30 -subj "/CN=tests of sansocket" \
  -addext basicConstraints=critical,CA:true -addext keyUsage=critical,keyCertSign 2>/dev/null
openssl x509 -in ca.pem -outform DER -out ca.der
openssl req "${key[@]}" -keyout key.pem -out server.csr -subj / 2>/dev/null
openssl x509 -req -in server.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days "${DAYS:-30}" -out cert.pem -sha256 \
  -extfile <(printf '%s\n' "subjectAltName=$SAN" basicConstraints=critical,CA:false extendedKeyUsage=serverAuth) 2>/dev/null
rm ca-key.pem ca.srl server.csr # nobody needs them again
