package managed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/kingpinfs/kingpin/metaconfig"
	"github.com/kingpinfs/kingpin/store"
)

// Client reads and publishes the fleet's configs by the names of their files,
// such as "config.manageddata.spam.grey_list", and checks what it publishes. It
// is safe for concurrent use.
type Client struct {
	values    *store.Store
	locate    func(file string) (store.Ref, error) // nil: as the metaconfigs say
	locations versioned[location]
	schemas   versioned[*Schema]
}

// location is where a metaconfig says that a config's content is kept.
type location struct {
	ref    store.Ref
	inline bool // in the znode itself
}

// NewClient returns a client over a store, which it doesn't own.
func NewClient(values *store.Store) *Client { return &Client{values: values} }

// NewClientAt returns a client that finds configs where locate says, and so asks
// ZooKeeper for nothing but their pointers. locate must be safe for concurrent
// use, and gives errors as Client.Ref does.
func NewClientAt(values *store.Store, locate func(file string) (store.Ref, error)) *Client {
	return &Client{values: values, locate: locate}
}

// Ref finds the value behind a file name: the one that its metaconfig names or,
// where it has none, the one that the name itself says. Errors: Invalid if the
// name is none, or if the config is one whose content is its znode's data, which
// has no versions; Denied, Unavailable.
func (c *Client) Ref(ctx context.Context, file string) (store.Ref, error) {
	if c.locate != nil {
		return c.locate(file)
	}
	path, err := metaconfig.ZKPathOf(file)
	if err != nil {
		return store.Ref{}, err
	}
	at := location{ref: store.Ref{Path: path}}
	found, _, err := c.locations.get(ctx, c.values, store.Ref{Path: metaconfig.Path(file)}, func(value store.Value) (location, error) {
		// What is wrong with other entries is no matter here.
		subscriptions, _, _ := metaconfig.Parse(file, value.Content)
		for _, sub := range subscriptions {
			if sub.File == file && sub.Type == metaconfig.Config {
				return location{store.Ref{Path: sub.ZKPath, Prefix: sub.KeyPrefix}, sub.KeyPrefix == ""}, nil
			}
		}
		return at, nil
	})
	if err != nil {
		return store.Ref{}, fmt.Errorf("looking up where config %q is kept: %w", file, err)
	}
	if found != (location{}) {
		at = found
	}
	if at.inline {
		return store.Ref{}, &store.Error{Op: "looking up config", Subject: file, Kind: store.Invalid,
			Err: fmt.Errorf("it has no versions: its metaconfig says that its content is the data of the znode %q itself, without --from-s3", at.ref.Path)}
	}
	return at.ref, nil
}

// Rules returns what the content of a config must satisfy. Errors: those of Ref;
// Invalid if the config's schema is none.
func (c *Client) Rules(ctx context.Context, file string) (Rules, error) {
	if err := metaconfig.CheckFile(file); err != nil {
		return Rules{}, err
	}
	rules := Rules{Name: file, Shape: ShapeOf(file)}
	var err error
	rules.Schema, _, err = c.schemas.get(ctx, c.values, schemaRef(file), func(value store.Value) (*Schema, error) {
		schema, err := CompileSchema(value.Content)
		if err != nil {
			return nil, fmt.Errorf("%w: `kingpin config schema %s FILE` replaces it", err, file)
		}
		return schema, nil
	})
	if err != nil {
		return Rules{}, fmt.Errorf("reading the schema of config %q: %w", file, err)
	}
	return rules, nil
}

// Get reads the content that counts. A config that was never written gives a
// value without version. Errors: those of Ref; NotFound if there is no such
// config, or S3 doesn't hold its content.
func (c *Client) Get(ctx context.Context, file string) (store.Value, error) {
	ref, err := c.Ref(ctx, file)
	if err != nil {
		return store.Value{}, err
	}
	value, err := c.values.Get(ctx, ref)
	return value, explainMissing(err, file, ref)
}

// GetVersion reads the content at a version, whether it counts or not. Errors:
// those of Ref and of store.Store.GetVersion.
func (c *Client) GetVersion(ctx context.Context, file string, v store.Version) (store.Value, error) {
	ref, err := c.Ref(ctx, file)
	if err != nil {
		return store.Value{}, err
	}
	value, err := c.values.GetVersion(ctx, ref, v)
	if store.KindOf(err) == store.NotFound {
		return value, fmt.Errorf("config %q has no version %s: `kingpin config history %s` lists them: %w", file, v, file, err)
	}
	return value, err
}

// History lists the newest versions; see store.Store.History.
func (c *Client) History(ctx context.Context, file string, limit int) ([]store.Entry, error) {
	ref, err := c.Ref(ctx, file)
	if err != nil {
		return nil, err
	}
	entries, err := c.values.History(ctx, ref, limit)
	return entries, explainMissing(err, file, ref)
}

// Version reads which version counts, without its content; "" if nothing was ever
// written. Errors: those of Ref; NotFound if there is no such config.
func (c *Client) Version(ctx context.Context, file string) (store.Version, error) {
	ref, err := c.Ref(ctx, file)
	if err != nil {
		return "", err
	}
	version, _, err := c.values.Pointer(ctx, ref)
	return version, explainMissing(err, file, ref)
}

// Put publishes a content as a new version and returns it. Errors: those of Rules
// and of Rules.Check; NotFound if there is no such config; those of
// store.Store.Put.
func (c *Client) Put(ctx context.Context, file string, content []byte, w store.Write) (store.Value, error) {
	rules, err := c.Rules(ctx, file)
	if err != nil {
		return store.Value{}, err
	}
	if err := rules.Check(content); err != nil {
		return store.Value{}, err
	}
	return c.PutUnchecked(ctx, file, content, w)
}

// PutUnchecked is Put without the rules, to get out of a situation that they
// don't foresee.
func (c *Client) PutUnchecked(ctx context.Context, file string, content []byte, w store.Write) (store.Value, error) {
	ref, err := c.Ref(ctx, file)
	if err != nil {
		return store.Value{}, err
	}
	value, err := c.values.Put(ctx, ref, content, w)
	return value, explainMissing(err, file, ref)
}

// Update publishes change(old), where old is what counts; see store.Store.Update.
// Errors: those of Put; those of change.
func (c *Client) Update(ctx context.Context, file string, w store.Write, change func(old store.Value) ([]byte, error)) (store.Value, error) {
	rules, err := c.Rules(ctx, file)
	if err != nil {
		return store.Value{}, err
	}
	return c.update(ctx, rules, w, change)
}

func (c *Client) update(ctx context.Context, rules Rules, w store.Write, change func(old store.Value) ([]byte, error)) (store.Value, error) {
	ref, err := c.Ref(ctx, rules.Name)
	if err != nil {
		return store.Value{}, err
	}
	value, err := c.values.Update(ctx, ref, w, func(old store.Value) ([]byte, error) {
		content, err := change(old)
		if err != nil || old.Version != "" && bytes.Equal(content, old.Content) {
			return content, err
		}
		return content, rules.Check(content)
	})
	return value, explainMissing(err, rules.Name, ref)
}

// managedRoot is the znode that holds all domains.
const managedRoot = "/config/manageddata/"

// explainMissing adds to the error of a config whose znode isn't there how to
// make it.
func explainMissing(err error, file string, ref store.Ref) error {
	cause, ok := errors.AsType[*store.Error](err)
	if !ok || cause.Kind != store.NotFound || cause.Subject != ref.Path {
		return err
	}
	name, managed := strings.CutPrefix(ref.Path, managedRoot)
	domain, key, ok := strings.Cut(name, "/")
	if !managed || !ok || strings.Contains(key, "/") {
		return fmt.Errorf("there is no config %q: %w", file, err)
	}
	return fmt.Errorf("there is no config %q: `kingpin metaconfig create-config %s %s` creates it: %w", file, domain, key, err)
}
