package managed

import (
	"context"
	"errors"
	"fmt"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/kingpinfs/kingpin/internal/pyjson"
	"github.com/kingpinfs/kingpin/metaconfig"
	"github.com/kingpinfs/kingpin/store"
)

// Schema is a JSON Schema that a config's content must satisfy. It is safe for
// concurrent use.
type Schema struct{ compiled *jsonschema.Schema }

// schemaURL is what a schema's own references are relative to.
const schemaURL = "kingpin:///schema.json"

// CompileSchema reads a JSON Schema: of the draft that its $schema names, else
// 2020-12. Formats count ("format": "ipv4"), patterns are Go's regular
// expressions, and nothing outside of the schema can be referred to. The error is
// Invalid and says where the schema is wrong.
func CompileSchema(text []byte) (*Schema, error) {
	compiled, err := compileSchema(text)
	if err != nil {
		return nil, fmt.Errorf("compiling a JSON Schema: %w: %w", store.Invalid, err)
	}
	return &Schema{compiled}, nil
}

func compileSchema(text []byte) (*jsonschema.Schema, error) {
	v, err := pyjson.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("it is not JSON: %w", err)
	}
	if err := v.Check(text); err != nil {
		return nil, err
	}
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(noLoader{})
	compiler.AssertFormat()
	if err := compiler.AddResource(schemaURL, v.Go()); err != nil {
		return nil, err
	}
	compiled, err := compiler.Compile(schemaURL)
	if wrong, ok := errors.AsType[*jsonschema.SchemaValidationError](err); ok {
		if fault, ok := errors.AsType[*jsonschema.ValidationError](wrong.Err); ok {
			return nil, schemaFaults(fault, v).in(text)
		}
	}
	return compiled, err
}

// noLoader keeps schemas from reading files.
type noLoader struct{}

func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("%q lies outside of the schema: put it into its $defs", url)
}

// check says where a content breaks the schema.
func (s *Schema) check(v pyjson.Value, content []byte) error {
	err := s.compiled.Validate(v.Go())
	if fault, ok := errors.AsType[*jsonschema.ValidationError](err); ok {
		return schemaFaults(fault, v).in(content)
	}
	return err
}

// schemaFaults returns the innermost faults, each with its place.
func schemaFaults(e *jsonschema.ValidationError, v pyjson.Value) faults {
	if len(e.Causes) == 0 {
		pointer := ""
		for _, part := range e.InstanceLocation {
			pointer += "/" + pyjson.EscapePointer(part)
		}
		text := e.ErrorKind.LocalizedString(message.NewPrinter(language.English))
		return faults{{v.At(e.InstanceLocation).Offset, pointer, errors.New(text)}}
	}
	var found faults
	for _, cause := range e.Causes {
		found = append(found, schemaFaults(cause, v)...)
	}
	return found
}

// schemaRoot holds the configs' schemas: values like all others, beside the
// metaconfigs, where Python never looks.
const schemaRoot = "/metaconfig/schema/"

func schemaRef(file string) store.Ref { return store.Ref{Path: schemaRoot + file} }

// Schema reads the text of a config's schema. It is a NotFound if there is none.
func (c *Client) Schema(ctx context.Context, file string) (store.Value, error) {
	if err := metaconfig.CheckFile(file); err != nil {
		return store.Value{}, err
	}
	value, err := c.values.Get(ctx, schemaRef(file))
	if err == nil && value.Version == "" || store.KindOf(err) == store.NotFound && value.Stat == (store.Stat{}) {
		return store.Value{}, &store.Error{Op: "reading the schema of config", Subject: file, Kind: store.NotFound,
			Err: fmt.Errorf("it has none: `kingpin config schema %s FILE` sets one", file)}
	}
	return value, err
}

// SetSchema makes a text the schema of a config, for writes from now on. The
// config must exist. Errors: those of CompileSchema, of Ref and of
// store.Store.Put; NotFound if there is no such config.
func (c *Client) SetSchema(ctx context.Context, file string, text []byte, w store.Write) (store.Value, error) {
	if _, err := CompileSchema(text); err != nil {
		return store.Value{}, err
	}
	if _, err := c.Version(ctx, file); err != nil && store.KindOf(err) != store.Invalid {
		return store.Value{}, err
	}
	if err := c.values.CreatePointer(ctx, schemaRef(file)); err != nil {
		return store.Value{}, err
	}
	return c.values.Put(ctx, schemaRef(file), text, w)
}

// RemoveSchema lets all contents be written again that the config's name allows.
// It is a NotFound if there is no schema.
func (c *Client) RemoveSchema(ctx context.Context, file string) error {
	if err := metaconfig.CheckFile(file); err != nil {
		return err
	}
	err := c.values.Delete(ctx, schemaRef(file))
	if store.KindOf(err) == store.NotFound {
		return &store.Error{Op: "removing the schema of config", Subject: file, Kind: store.NotFound, Err: errors.New("it has none")}
	}
	return err
}
