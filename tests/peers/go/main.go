// A server on Go's net/http that refuses each path in another way. Prints its address.
package main

import (
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening on", listener.Addr())
	log.Fatal(http.Serve(listener, http.HandlerFunc(answer)))
}

func answer(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/401/chunked":
		chunks(w)
	case "/401/trailer":
		w.Header().Set("Trailer", "X-Sum")
		chunks(w)
		w.Header().Set("X-Sum", "1")
	case "/204":
		w.WriteHeader(204)
	case "/304":
		w.WriteHeader(304)
	case "/403/close":
		raw(w, "HTTP/1.1 403 Forbidden\r\nX-Folded: a;\r\n b\r\n\r\nwho are you?\n").Close()
	case "/103/403":
		hints(w)
		http.Error(w, "who are you?", 403)
	case "/103/101":
		hints(w)
		accept := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		raw(w, "HTTP/1.1 101 Switching Protocols\r\nContent-Security-Policy: a;\r\n b\r\nUpgrade: websocket\r\n"+
			"Connection: Upgrade\r\nSec-WebSocket-Accept: "+base64.StdEncoding.EncodeToString(accept[:])+
			"\r\n\r\n\x81\x05Hello\x88\x02\x03\xe8").wait()
	default:
		http.Error(w, "not here", 404)
	}
}

// Two chunks.
func chunks(w http.ResponseWriter) {
	w.WriteHeader(401)
	for _, part := range []string{"who are ", "you?\n"} {
		fmt.Fprint(w, part)
		w.(http.Flusher).Flush()
	}
}

func hints(w http.ResponseWriter) {
	w.Header().Set("Link", "</style.css>; rel=preload")
	w.WriteHeader(103)
}

type stream struct{ net.Conn }

// What net/http does not write itself.
func raw(w http.ResponseWriter, answer string) stream {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Fprint(conn, answer)
	return stream{conn}
}

// Until the client's Close is here: a server closes first.
func (s stream) wait() {
	io.ReadFull(s, make([]byte, 8))
	s.Close()
}
