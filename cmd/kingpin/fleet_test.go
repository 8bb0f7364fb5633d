package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// writeCertificate writes a certificate that signs itself, and its key.
func writeCertificate(t *testing.T, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyBytes, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: certificate},
		keyFile:  {Type: "PRIVATE KEY", Bytes: keyBytes},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestZooKeeperConfig(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	writeCertificate(t, file("cert"), file("key"))
	for name, content := range map[string]string{"auth": "alice:secret\n", "junk": "secret"} {
		if err := os.WriteFile(file(name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := map[string]struct {
		change func(*zookeeperOptions)
		err    string // "" for none
		auth   string
		tls    bool
		certs  int
	}{
		"plain":             {change: func(*zookeeperOptions) {}},
		"auth":              {change: func(o *zookeeperOptions) { o.AuthFile = file("auth") }, auth: "alice:secret"},
		"bad auth":          {change: func(o *zookeeperOptions) { o.AuthFile = file("junk") }, err: "user:password"},
		"ca":                {change: func(o *zookeeperOptions) { o.TLSCA = file("cert") }, tls: true},
		"certificate":       {change: func(o *zookeeperOptions) { o.TLSCert, o.TLSKey = file("cert"), file("key") }, tls: true, certs: 1},
		"no key":            {change: func(o *zookeeperOptions) { o.TLSCert = file("cert") }, err: "go together"},
		"ca of no use":      {change: func(o *zookeeperOptions) { o.TLSCA = file("junk") }, err: "no certificate in PEM"},
		"no such ca":        {change: func(o *zookeeperOptions) { o.TLSCA = file("none") }, err: "--zk-tls-ca"},
		"key of no use":     {change: func(o *zookeeperOptions) { o.TLSCert, o.TLSKey = file("cert"), file("junk") }, err: "--zk-tls-key"},
		"servers of no use": {change: func(o *zookeeperOptions) { o.Servers = "zk1:port" }, err: "zk1:port"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			options := zookeeperOptions{Servers: "zk1,zk2:2182/fleet"}
			tt.change(&options)
			config, err := options.config(slog.New(slog.DiscardHandler))
			if tt.err != "" {
				if exitCode(err) != exitUsage || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "secret") {
					t.Errorf("error %v, want one of usage about %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if strings.Join(config.Servers, " ") != "zk1:2181 zk2:2182" || config.Chroot != "/fleet" || config.Auth != tt.auth {
				t.Errorf("got %q, %q, %q", config.Servers, config.Chroot, config.Auth)
			}
			if (config.TLS != nil) != tt.tls || tt.tls && len(config.TLS.Certificates) != tt.certs {
				t.Errorf("TLS is %+v", config.TLS)
			}
		})
	}
}
