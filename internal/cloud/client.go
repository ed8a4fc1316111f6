/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	defaultTimeout = 15 * time.Second
	// defaultMaxBody fits the largest agent that can be declared (1 MiB of configuration, 256 KiB of metadata, 128 KiB of
	// flags), with each character escaped in six.
	defaultMaxBody = 9 << 20
	// maxDoneBody bounds what is read of the response to an update or a deletion.
	maxDoneBody      = 64 << 10
	maxHeaderBytes   = 64 << 10
	idleConnsPerHost = 64
	idleConnTimeout  = 90 * time.Second
	// Time limits for a new connection; both fit into one request.
	dialTimeout         = 10 * time.Second
	tlsHandshakeTimeout = 10 * time.Second
)

// Scheme is the way in which a token is sent to the API.
type Scheme string

const (
	// SchemeBearer is Authorization: Bearer, documented for every route.
	SchemeBearer Scheme = "Bearer"
	// SchemeProjectToken is X-Project-Token, for project tokens.
	SchemeProjectToken Scheme = "ProjectToken"
	// SchemeAgentToken is X-Agent-Token: the request of the agent itself.
	SchemeAgentToken Scheme = "AgentToken"
)

// Credential is a token and the way to send it.
type Credential struct {
	Scheme Scheme
	Token  Token
}

// header returns the name and the value of the credential's header.
func (c Credential) header() (name, value string, err error) {
	value = c.Token.Reveal()
	if value == "" {
		return "", "", errors.New("the token is empty")
	}
	if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", "", errors.New("the token holds a line break or another control character")
	}
	switch c.Scheme {
	case SchemeBearer:
		return "Authorization", "Bearer " + value, nil
	case SchemeProjectToken:
		return "X-Project-Token", value, nil
	case SchemeAgentToken:
		return "X-Agent-Token", value, nil
	default:
		return "", "", fmt.Errorf("the authentication scheme %q is not known", string(c.Scheme))
	}
}

// Config configures a Client.
type Config struct {
	// BaseURL of the API, see ParseURL.
	BaseURL    *url.URL
	Credential Credential
	// CABundle has PEM certificates, added to those of the system.
	CABundle []byte
	// UserAgent names the caller and its version.
	UserAgent string
	// Timeout of one request, including the response's body. Default 15 s.
	Timeout time.Duration
	// MaxBody bounds the bytes read of a response; a longer one fails with ReasonTooLarge. Default 9 MiB.
	MaxBody int64
	// Room holds the large responses of all clients of a process, and Owner is whose they are. Nil: no bound.
	Room  *Room
	Owner string
	// Reading bounds how many responses of any size all clients of a process decode at once. Nil: no bound.
	Reading *Room
	// Proxy returns the proxy of a request. Default: that of the environment.
	Proxy func(*http.Request) (*url.URL, error)
	// Wrap puts instrumentation around the transport. It may be nil.
	Wrap func(http.RoundTripper) http.RoundTripper
}

// Client calls the agents API with one credential. It is safe for concurrent use.
type Client struct {
	base       *url.URL
	credential Credential
	userAgent  string
	timeout    time.Duration
	maxBody    int64
	tripper    http.RoundTripper
	transport  *http.Transport
	room       *Room
	reading    *Room
	owner      string
	secrets    secrets // what error texts must not show
}

// New returns a client with its own connections. Its errors concern the configuration; nothing is sent.
func New(config Config) (*Client, error) {
	base := config.BaseURL
	if base == nil || base.Host == "" || (base.Scheme != "https" && base.Scheme != "http") {
		return nil, errors.New("cloud client: the base URL must be absolute, of scheme https or http")
	}
	if base.User != nil || base.RawQuery != "" || base.Fragment != "" {
		return nil, errors.New("cloud client: the base URL must have no user information, query or fragment")
	}
	roots, err := certificates(config.CABundle)
	if err != nil {
		return nil, err
	}
	c := &Client{
		base:      &url.URL{Scheme: base.Scheme, Host: base.Host, Path: strings.TrimRight(base.Path, "/")},
		userAgent: config.UserAgent,
		timeout:   config.Timeout,
		maxBody:   config.MaxBody,
		room:      config.Room,
		reading:   config.Reading,
		owner:     config.Owner,
		transport: newTransport(roots, config),
	}
	if c.timeout <= 0 {
		c.timeout = defaultTimeout
	}
	c.tripper = c.transport
	if config.Wrap != nil {
		c.tripper = config.Wrap(c.transport)
	}
	return c.WithCredential(config.Credential), nil
}

// WithCredential returns a client with another credential and the same connections. Its errors hide the tokens of both.
func (c *Client) WithCredential(credential Credential) *Client {
	other := *c
	other.credential = credential
	other.secrets = c.secrets.with(credential.Token)
	return &other
}

// For returns a client like c whose responses are another owner's in the Rooms.
func For(owner string, c *Client) *Client {
	other := *c
	other.owner = owner
	return &other
}

// CloseIdleConnections closes the idle connections of this client and of those made with WithCredential.
func (c *Client) CloseIdleConnections() { c.transport.CloseIdleConnections() }

// newTransport returns a transport of HTTP/1.1 alone. Over HTTP/2 a server can say that it did not process a request (REFUSED_STREAM,
// GOAWAY), and net/http sends it again, a registration too, as often as there is time.
func newTransport(roots *x509.CertPool, config Config) *http.Transport {
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:                  proxyOf(config.Proxy),
		OnProxyConnectResponse: onConnect,
		DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout:    tlsHandshakeTimeout,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		MaxIdleConnsPerHost:    idleConnsPerHost,
		IdleConnTimeout:        idleConnTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		Protocols:              protocols,
	}
}
