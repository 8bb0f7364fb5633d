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
	zookeeper zookeeperOptions
	s3        s3Options
}

func (o *fleetOptions) addFlags(flags *pflag.FlagSet) {
	o.zookeeper.addFlags(flags)
	o.s3.addFlags(flags)
}

// zookeeperOptions say where ZooKeeper is and who we are there.
type zookeeperOptions struct {
	hostsFile, servers     string
	authFile               string
	tlsCA, tlsCert, tlsKey string
}

func (o *zookeeperOptions) addFlags(flags *pflag.FlagSet) {
	flags.StringVarP(&o.hostsFile, "zk-hosts-file", "z", "", "a `FILE` that names ZooKeeper's servers, one host:port a line")
	flags.StringVar(&o.servers, "zk", "", "ZooKeeper's servers: `HOST:PORT,...`, and perhaps a chroot behind them: /fleet")
	flags.StringVar(&o.authFile, "zk-auth", "", "a `FILE` that holds user:password for ZooKeeper's digest scheme")
	flags.StringVar(&o.tlsCA, "zk-tls-ca", "", "speak TLS to ZooKeeper and check its certificate by this `FILE`")
	flags.StringVar(&o.tlsCert, "zk-tls-cert", "", "speak TLS to ZooKeeper with the certificate in this `FILE`")
	flags.StringVar(&o.tlsKey, "zk-tls-key", "", "a `FILE` that holds the key of --zk-tls-cert")
	bindEnvironment(flags, "zk-hosts-file", "zk", "zk-auth", "zk-tls-ca", "zk-tls-cert", "zk-tls-key")
	declareAlternatives(flags, "zk-hosts-file", "zk")
}

// config reads the files that the options name. Its errors are of usage.
func (o *zookeeperOptions) config(log *slog.Logger) (zkconn.Config, error) {
	config := zkconn.Config{Logger: log}
	var err error
	switch {
	case o.servers != "" && o.hostsFile != "":
		return config, usagef("ZooKeeper's servers are given twice, by --zk (or KINGPIN_ZK) and by --zk-hosts-file (or KINGPIN_ZK_HOSTS_FILE): give one")
	case o.servers != "":
		config.Servers, config.Chroot, err = zkconn.ParseServers(o.servers)
	case o.hostsFile != "":
		var warnings []string
		config.Servers, warnings, err = zkconn.ReadHostsFile(o.hostsFile)
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
	if o.authFile == "" {
		return "", nil
	}
	content, err := os.ReadFile(o.authFile)
	if err != nil {
		return "", fmt.Errorf("--zk-auth: %w", err)
	}
	auth := strings.TrimRight(string(content), "\r\n")
	if user, password, ok := strings.Cut(auth, ":"); !ok || user == "" || password == "" || strings.ContainsAny(auth, "\r\n") {
		return "", fmt.Errorf("--zk-auth: the file %q must hold one line, user:password", o.authFile)
	}
	return auth, nil
}

// tlsConfig returns nil if nothing asks for TLS.
func (o *zookeeperOptions) tlsConfig() (*tls.Config, error) {
	if o.tlsCA == "" && o.tlsCert == "" && o.tlsKey == "" {
		return nil, nil
	}
	config := new(tls.Config)
	if o.tlsCA != "" {
		pem, err := os.ReadFile(o.tlsCA)
		if err != nil {
			return nil, fmt.Errorf("--zk-tls-ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--zk-tls-ca: the file %q holds no certificate in PEM", o.tlsCA)
		}
	}
	if o.tlsCert == "" && o.tlsKey == "" {
		return config, nil
	}
	if o.tlsCert == "" || o.tlsKey == "" {
		return nil, fmt.Errorf("--zk-tls-cert and --zk-tls-key go together: give both, or neither")
	}
	certificate, err := tls.LoadX509KeyPair(o.tlsCert, o.tlsKey)
	if err != nil {
		return nil, fmt.Errorf("--zk-tls-cert %q, --zk-tls-key %q: %w", o.tlsCert, o.tlsKey, err)
	}
	config.Certificates = []tls.Certificate{certificate}
	return config, nil
}

// s3Options say where S3 is and who we are there.
type s3Options struct {
	bucket, endpoint, keyFile string
}

func (o *s3Options) addFlags(flags *pflag.FlagSet) {
	flags.StringVarP(&o.bucket, "s3-bucket", "b", "", "the `NAME` of the S3 bucket that holds the fleet's contents")
	flags.StringVarP(&o.endpoint, "s3-endpoint", "e", "", "the `URL` of the S3 server (default AWS); a bare host means https")
	flags.StringVarP(&o.keyFile, "aws-key-file", "a", "", "a boto `FILE` that holds our credentials (default: those of the AWS SDK)")
	bindEnvironment(flags, "s3-bucket", "s3-endpoint", "aws-key-file")
}

// open makes a client. It contacts no server. silence is how long a request may
// wait for a server that says nothing; 0 is the client's own limit.
func (o *s3Options) open(ctx context.Context, silence time.Duration, log *slog.Logger) (*s3blob.Client, error) {
	if o.bucket == "" {
		return nil, usagef("which S3 bucket holds the fleet's contents? Give --s3-bucket NAME, or set KINGPIN_S3_BUCKET")
	}
	return s3blob.New(ctx, s3blob.Config{Bucket: o.bucket, Endpoint: o.endpoint, KeyFile: o.keyFile, IdleTimeout: silence, Logger: log})
}
