package zkconn_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/internal/devcluster"
	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
	"github.com/kingpinfs/kingpin/internal/zkconn"
	"github.com/kingpinfs/kingpin/store"
)

// selfSigned makes a certificate for a host name, which is its own authority,
// and writes it and its key to a file as ZooKeeper reads them.
func selfSigned(t *testing.T, name string) (cert tls.Certificate, authority *x509.CertPool, file string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	var text bytes.Buffer
	must(t, pem.Encode(&text, &pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
	must(t, pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: der}))
	file = filepath.Join(t.TempDir(), name+".pem")
	must(t, os.WriteFile(file, text.Bytes(), 0o600))
	cert, err = tls.X509KeyPair(text.Bytes(), text.Bytes())
	must(t, err)
	authority = x509.NewCertPool()
	authority.AddCert(cert.Leaf)
	return cert, authority, file
}

func TestTLS(t *testing.T) {
	_, authority, serverFile := selfSigned(t, "localhost")
	client, _, clientFile := selfSigned(t, "client")
	port, err := devcluster.FreePort()
	must(t, err)
	server := devtest.ZooKeeperWith(t, devcluster.ZooKeeperConfig{Settings: map[string]string{
		"serverCnxnFactory":        "org.apache.zookeeper.server.NettyServerCnxnFactory",
		"secureClientPort":         strconv.Itoa(port),
		"secureClientPortAddress":  "127.0.0.1",
		"ssl.keyStore.location":    serverFile,
		"ssl.keyStore.type":        "PEM",
		"ssl.trustStore.location":  clientFile,
		"ssl.trustStore.type":      "PEM",
		"ssl.clientAuth":           "need",
		"ssl.hostnameVerification": "false", // of the client's host
	}})
	secure := net.JoinHostPort("localhost", strconv.Itoa(port))

	cfg := config(t, secure)
	cfg.TLS = &tls.Config{RootCAs: authority, Certificates: []tls.Certificate{client}}
	c := open(t, cfg)
	must(t, c.Create(within(t), "/x", []byte("secret")))
	wantData(t, c, "/x", "secret")

	fails := map[string]struct {
		addr string
		tls  *tls.Config
		want string
	}{
		"unknown authority":      {secure, &tls.Config{Certificates: []tls.Certificate{client}}, "unknown authority"},
		"another name":           {net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), cfg.TLS, "127.0.0.1"},
		"no certificate of ours": {secure, &tls.Config{RootCAs: authority}, secure},
		"TLS to a plain port":    {server.Addr(), cfg.TLS, "TLS handshake"},
		"plain to a TLS port":    {secure, nil, "speak TLS where we don't"},
	}
	for name, test := range fails {
		t.Run(name, func(t *testing.T) {
			cfg := config(t, test.addr)
			cfg.TLS = test.tls
			awaitFailure(t, open(t, cfg), test.want)
		})
	}
}

// awaitFailure waits until a client says why it doesn't connect.
func awaitFailure(t *testing.T, c *zkconn.Conn, wants ...string) {
	t.Helper()
	ctx := within(t)
	for {
		short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		err := c.WaitConnected(short)
		cancel()
		wantKind(t, err, store.Unavailable)
		found := 0
		for _, want := range wants {
			if strings.Contains(err.Error(), want) {
				found++
			}
		}
		if found == len(wants) {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("%q doesn't name %q", err, wants)
		}
	}
}
