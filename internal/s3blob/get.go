package s3blob

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/kingpinfs/kingpin/store"
)

const opGet = "reading object"

// growth is how much memory is taken at once on no more than the server's word
// for a body's length.
const growth = 1 << 20

// Get implements store.Blobs. What was read is compared with the SHA-256 in
// the metadata (store.MetaSHA256), or else with the ETag where that is an MD5.
// Where they differ the object is read once more: it may have been replaced
// while it was read, by a server that doesn't keep the two apart; or the
// server encrypts what it stores, and its ETags are other hashes, which two
// equal reads show.
func (c *Client) Get(ctx context.Context, key string, limit int64) ([]byte, store.Object, error) {
	first, err := c.read(ctx, key, limit)
	if err != nil {
		return nil, store.Object{}, err
	}
	if first.check() == nil {
		return first.content, first.object, nil
	}
	second, err := c.read(ctx, key, limit)
	if err != nil {
		return nil, store.Object{}, err
	}
	err = second.check()
	if errors.Is(err, errNotMD5) && second.etag == first.etag && bytes.Equal(second.content, first.content) {
		err = nil
	}
	if err != nil {
		return nil, store.Object{}, &store.Error{Op: opGet, Subject: c.uri(key), Kind: store.Unavailable, Err: err}
	}
	return second.content, second.object, nil
}

// read is one request for an object and its content.
func (c *Client) read(ctx context.Context, key string, limit int64) (blob, error) {
	resp, err := c.get.get(ctx, key)
	if err != nil {
		return blob{}, c.fail(ctx, opGet, c.uri(key), err)
	}
	defer func() { _ = resp.Body.Close() }()

	if limit > 0 && resp.ContentLength > limit {
		return blob{}, c.tooLarge(key, fmt.Sprintf("it has %d bytes", resp.ContentLength), limit)
	}
	content, err := readBody(resp.Body, resp.ContentLength, limit)
	if err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = &fault{err: err, text: fmt.Sprintf("the connection ended after %d bytes of %d", len(content), resp.ContentLength)}
		}
		return blob{}, c.fail(ctx, opGet, c.uri(key), err)
	}
	if limit > 0 && int64(len(content)) > limit {
		return blob{}, c.tooLarge(key, "it is longer", limit)
	}
	// A date that can't be read is one that isn't known.
	modified, _ := http.ParseTime(resp.Header.Get("Last-Modified"))
	return blob{
		content: content,
		etag:    resp.Header.Get("ETag"),
		sealed: strings.HasPrefix(resp.Header.Get("X-Amz-Server-Side-Encryption"), "aws:kms") ||
			resp.Header.Get("X-Amz-Server-Side-Encryption-Customer-Algorithm") != "",
		object: store.Object{
			Key:      key,
			Size:     int64(len(content)),
			Modified: modified,
			Metadata: metadataOf(resp.Header),
		},
	}, nil
}

func (c *Client) tooLarge(key, what string, limit int64) error {
	return &store.Error{Op: opGet, Subject: c.uri(key), Kind: store.TooLarge, Err: fmt.Errorf("%s, the limit is %d", what, limit)}
}

// readBody reads a body of the given length, or if that is negative to its
// end, but not more than a byte beyond the limit. With an error it returns what
// it has read.
func readBody(body io.Reader, length, limit int64) ([]byte, error) {
	if length >= 0 && length <= max(limit, growth) {
		content := make([]byte, length)
		n, err := io.ReadFull(body, content)
		if errors.Is(err, io.EOF) && length > 0 {
			err = io.ErrUnexpectedEOF
		}
		return content[:n], err
	}
	if limit > 0 {
		body = io.LimitReader(body, limit+1)
	}
	return io.ReadAll(body)
}

// blob is an object as one request returned it.
type blob struct {
	content []byte
	etag    string
	sealed  bool // encrypted by a key of the server's; then the ETag is no MD5
	object  store.Object
}

var (
	errNotSHA256 = errors.New("the content isn't the one whose SHA-256 its metadata holds, twice: it is damaged, publish it again")
	errNotMD5    = errors.New("the content isn't the one whose MD5 its ETag is, and changed when it was read again")
)

// check compares the content with the hash that came with it, if one did.
func (b blob) check() error {
	if want := b.object.Metadata[store.MetaSHA256]; want != "" {
		if sum := sha256.Sum256(b.content); !strings.EqualFold(want, hex.EncodeToString(sum[:])) {
			return errNotSHA256
		}
		return nil
	}
	want, err := hex.DecodeString(strings.Trim(b.etag, `"`))
	if err != nil || len(want) != md5.Size || b.sealed {
		return nil
	}
	if sum := md5.Sum(b.content); !bytes.Equal(want, sum[:]) {
		return errNotMD5
	}
	return nil
}
