package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/kingpinfs/kingpin/internal/s3blob"
	"github.com/kingpinfs/kingpin/internal/zkconn"
)

// fleetOptions are the flags of every command that talks to the fleet.
type fleetOptions struct {
	ZooKeeper zookeeperOptions `json:"zookeeper"`
	S3        s3Options        `json:"s3"`

	// timeout is how long a command may take; 0 means commandTimeout.
	timeout time.Duration
}

func (o *fleetOptions) addFlags(flags *pflag.FlagSet) {
	o.ZooKeeper.addFlags(flags)
	o.S3.addFlags(flags)
}

// addCommandFlags is addFlags for commands that end by themselves.
func (o *fleetOptions) addCommandFlags(flags *pflag.FlagSet) {
	o.addFlags(flags)
	flags.DurationVar(&o.timeout, "timeout", commandTimeout, "give up after so long, the wait for somebody else's lock included")
}

// check finds out what is wrong with the options, as far as no server has to be
// asked. Its errors are of usage.
func (o *fleetOptions) check() error {
	if _, err := o.ZooKeeper.config(slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	return o.S3.check()
}

// zookeeperOptions say where ZooKeeper is and who we are there.
type zookeeperOptions struct {
	HostsFile string `json:"hosts_file"`
	Servers   string `json:"servers"`
	AuthFile  string `json:"auth_file"`
	TLSCA     string `json:"tls_ca"`
	TLSCert   string `json:"tls_cert"`
	TLSKey    string `json:"tls_key"`
}

func (o *zookeeperOptions) addFlags(flags *pflag.FlagSet) {
	flags.StringVarP(&o.HostsFile, "zk-hosts-file", "z", "", "a `FILE` that names ZooKeeper's servers, one host:port a line")
	flags.StringVar(&o.Servers, "zk", "", "ZooKeeper's servers: `HOST:PORT,...`, and perhaps a chroot behind them: /fleet")
	flags.StringVar(&o.AuthFile, "zk-auth", "", "a `FILE` that holds user:password for ZooKeeper's digest scheme")
	flags.StringVar(&o.TLSCA, "zk-tls-ca", "", "speak TLS to ZooKeeper and check its certificate by this `FILE`")
	flags.StringVar(&o.TLSCert, "zk-tls-cert", "", "speak TLS to ZooKeeper with the certificate in this `FILE`")
	flags.StringVar(&o.TLSKey, "zk-tls-key", "", "a `FILE` that holds the key of --zk-tls-cert")
	bindEnvironment(flags, "zk-hosts-file", "zk", "zk-auth", "zk-tls-ca", "zk-tls-cert", "zk-tls-key")
	declareAlternatives(flags, "zk-hosts-file", "zk")
}

// config reads the files that the options name. Its errors are of usage.
func (o *zookeeperOptions) config(log *slog.Logger) (zkconn.Config, error) {
	config := zkconn.Config{Logger: log}
	var err error
	switch {
	case o.Servers != "" && o.HostsFile != "":
		return config, usagef("ZooKeeper's servers are given twice, by --zk (or KINGPIN_ZK) and by --zk-hosts-file (or KINGPIN_ZK_HOSTS_FILE): give one")
	case o.Servers != "":
		config.Servers, config.Chroot, err = zkconn.ParseServers(o.Servers)
	case o.HostsFile != "":
		var warnings []string
		config.Servers, warnings, err = zkconn.ReadHostsFile(o.HostsFile)
		for _, warning := range warnings {
			log.Warn("a line of ZooKeeper's servers is left out", "line", warning)
		}
	default:
		return config, usagef("where is ZooKeeper? Give --zk HOST:PORT,... or --zk-hosts-file FILE, or set KINGPIN_ZK")
	}
	if err != nil {
		return config, &usageError{err}
	}
	if config.Auth, err = o.readAuth(); err != nil {
		return config, &usageError{err}
	}
	if config.TLS, err = o.tlsConfig(); err != nil {
		return config, &usageError{err}
	}
	return config, nil
}

// readAuth returns "user:password", or "" for none. Its errors don't hold the
// file's content.
func (o *zookeeperOptions) readAuth() (string, error) {
	if o.AuthFile == "" {
		return "", nil
	}
	content, err := os.ReadFile(o.AuthFile)
	if err != nil {
		return "", fmt.Errorf("--zk-auth: %w", err)
	}
	auth := strings.TrimRight(string(content), "\r\n")
	if user, password, ok := strings.Cut(auth, ":"); !ok || user == "" || password == "" || strings.ContainsAny(auth, "\r\n") {
		return "", fmt.Errorf("--zk-auth: the file %q must hold one line, user:password", o.AuthFile)
	}
	return auth, nil
}

// tlsConfig returns nil if nothing asks for TLS.
func (o *zookeeperOptions) tlsConfig() (*tls.Config, error) {
	if o.TLSCA == "" && o.TLSCert == "" && o.TLSKey == "" {
		return nil, nil
	}
	config := new(tls.Config)
	if o.TLSCA != "" {
		pem, err := os.ReadFile(o.TLSCA)
		if err != nil {
			return nil, fmt.Errorf("--zk-tls-ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--zk-tls-ca: the file %q holds no certificate in PEM", o.TLSCA)
		}
	}
	if o.TLSCert == "" && o.TLSKey == "" {
		return config, nil
	}
	if o.TLSCert == "" || o.TLSKey == "" {
		return nil, fmt.Errorf("--zk-tls-cert and --zk-tls-key go together: give both, or neither")
	}
	certificate, err := tls.LoadX509KeyPair(o.TLSCert, o.TLSKey)
	if err != nil {
		return nil, fmt.Errorf("--zk-tls-cert %q, --zk-tls-key %q: %w", o.TLSCert, o.TLSKey, err)
	}
	config.Certificates = []tls.Certificate{certificate}
	return config, nil
}

// s3Options say where S3 is and who we are there.
type s3Options struct {
	Bucket   string `json:"bucket"`
	Endpoint string `json:"endpoint"`
	KeyFile  string `json:"key_file"`
}

func (o *s3Options) addFlags(flags *pflag.FlagSet) {
	flags.StringVarP(&o.Bucket, "s3-bucket", "b", "", "the `NAME` of the S3 bucket that holds the fleet's contents")
	flags.StringVarP(&o.Endpoint, "s3-endpoint", "e", "", "the `URL` of the S3 server (default AWS); a bare host means https")
	flags.StringVarP(&o.KeyFile, "aws-key-file", "a", "", "a boto `FILE` that holds our credentials (default: those of the AWS SDK)")
	bindEnvironment(flags, "s3-bucket", "s3-endpoint", "aws-key-file")
}

// open makes a client. It contacts no server. silence is how long a request may
// wait for a server that says nothing; 0 is the client's own limit.
func (o *s3Options) open(ctx context.Context, silence time.Duration, log *slog.Logger) (*s3blob.Client, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	return s3blob.New(ctx, s3blob.Config{Bucket: o.Bucket, Endpoint: o.Endpoint, KeyFile: o.KeyFile, IdleTimeout: silence, Logger: log})
}

func (o *s3Options) check() error {
	if o.Bucket == "" {
		return usagef("which S3 bucket holds the fleet's contents? Give --s3-bucket NAME, or set KINGPIN_S3_BUCKET")
	}
	return nil
}
