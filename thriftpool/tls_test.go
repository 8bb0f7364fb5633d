package thriftpool_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/thriftpool"
)

// certificate makes one for a host name, or an address, which is its own
// authority.
func certificate(t *testing.T, name string, until time.Time) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: until.Add(-24 * time.Hour), NotAfter: until,
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(t, err)
	leaf, err := x509.ParseCertificate(der)
	must(t, err)
	authority := x509.NewCertPool()
	authority.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, authority
}

func TestTLS(t *testing.T) {
	soon := time.Now().Add(time.Hour)
	cert, authority := certificate(t, "localhost", soon)
	expired, expiredAuthority := certificate(t, "localhost", time.Now().Add(-time.Minute))
	ours, ourAuthority := certificate(t, "client", soon)
	demanding := &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ourAuthority}
	plain := &tls.Config{Certificates: []tls.Certificate{cert}}
	old := &tls.Config{Certificates: []tls.Certificate{cert}, MaxVersion: tls.VersionTLS12}

	tests := []struct {
		name   string
		server *tls.Config
		host   string
		client *tls.Config
		want   string // of the error; "" means that it works
	}{
		{"good", plain, "localhost", &tls.Config{RootCAs: authority}, ""},
		{"TLS 1.2", old, "localhost", &tls.Config{RootCAs: authority}, ""},
		{"server name", plain, "127.0.0.1", &tls.Config{RootCAs: authority, ServerName: "localhost"}, ""},
		{"client certificate", demanding, "localhost", &tls.Config{RootCAs: authority, Certificates: []tls.Certificate{ours}}, ""},
		{"unknown authority", plain, "localhost", &tls.Config{}, "unknown authority"},
		{"another name", plain, "127.0.0.1", &tls.Config{RootCAs: authority}, "127.0.0.1"},
		{"another server name", plain, "localhost", &tls.Config{RootCAs: authority, ServerName: "example.com"}, "example.com"},
		{"expired", &tls.Config{Certificates: []tls.Certificate{expired}}, "localhost", &tls.Config{RootCAs: expiredAuthority}, "expired"},
		{"no client certificate", demanding, "localhost", &tls.Config{RootCAs: authority}, "certificate required"},
		{"server without TLS", nil, "localhost", &tls.Config{RootCAs: authority}, "TLS handshake"},
		{"client without TLS", plain, "localhost", nil, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := newHandler()
			s := serve(t, h, serverOptions{tls: test.server})
			endpoint := strings.Replace(s.endpoint(), "127.0.0.1", test.host, 1)
			pool := open(t, hostsOf(endpoint), thriftpool.Options{TLS: test.client})
			if test.client == nil {
				_, err := client(pool).Echo(within(t), "hello")
				if e := failure(t, err); e.Host != endpoint {
					t.Errorf("the error is %v", err)
				}
				return
			}
			if test.want != "" {
				_, err := client(pool).Echo(within(t), "hello")
				if e := failure(t, err); !strings.Contains(err.Error(), test.want) || e.Host != endpoint {
					t.Errorf("the error is %v, want %q", err, test.want)
				}
				return
			}
			// The session's tickets, which come after the handshake, aren't taken for
			// an answer that nobody asked for.
			must(t, pool.Warm(within(t)))
			everyCall(t, client(pool), h)
			if n := s.accepted.Load(); n != 1 {
				t.Errorf("it took %d connections", n)
			}
		})
	}
}

// TestTLSDead has the server close connections while they are idle.
func TestTLSDead(t *testing.T) {
	cert, authority := certificate(t, "localhost", time.Now().Add(time.Hour))
	s := serve(t, newHandler(), serverOptions{tls: &tls.Config{Certificates: []tls.Certificate{cert}}})
	pool := open(t, hostsOf(strings.Replace(s.endpoint(), "127.0.0.1", "localhost", 1)), thriftpool.Options{
		TLS: &tls.Config{RootCAs: authority}, MaxAttempts: 1,
	})
	for i := range 10 {
		if n, err := client(pool).Count(within(t), "x"); err != nil || n != int64(i+1) {
			t.Fatalf("Count returned %d, %v", n, err)
		}
		s.drop()
		eventually(t, "the connection is closed", func() bool { return s.open() == 0 })
	}
}
