package metaconfig

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/kingpinfs/kingpin/store"
)

// Type is what a subscription makes a file of.
type Type string

// The types, as they stand in metaconfigs.
const (
	Config    Type = "config"    // of a value
	Serverset Type = "serverset" // of the members of a serverset
)

// The directories into which the commands of metaconfigs write.
const (
	configDir    = "/var/config"
	serversetDir = "/var/serverset"
)

// dir is where the fleet's commands put the files of a type.
func (t Type) dir() string {
	if t == Serverset {
		return serversetDir
	}
	return configDir
}

// parseType accepts a type in any case, as the Python monitor does.
func parseType(text string) (Type, error) {
	switch t := Type(strings.ToLower(text)); t {
	case Config, Serverset:
		return t, nil
	}
	return "", fmt.Errorf("%q is neither %q nor %q", text, Config, Serverset)
}

// MaxWait bounds how long a metaconfig can make a monitor wait before it
// fetches a change.
const MaxWait = 24 * time.Hour

// Subscription is one file that a box serves because of a metaconfig.
type Subscription struct {
	Metaconfig string // the name of the metaconfig
	Section    string // config_section_name; the file's name if there is none
	Type       Type
	ZKPath     string // the value's pointer, or the znode of the serverset
	File       string // the name of the file, which has passed CheckFile
	// KeyPrefix is where the versions of a value are stored, without leading
	// and doubled slashes. "" in a Config: the value is the data of the znode.
	KeyPrefix string
	// RejectionRatio is the part of a served serverset, from 0 to 1, that must
	// be left for a smaller one to replace it at once.
	RejectionRatio float64
	// MinimumSize is the number of endpoints that must be left for the same.
	MinimumSize int
	// MaxWait is the longest time, in whole seconds up to MaxWait, to wait
	// before a change is fetched: each box takes a random part of it.
	MaxWait time.Duration
	// AlertDisabled says that failures of this file shall wake nobody.
	AlertDisabled bool
}

// Parse returns what a metaconfig subscribes a box to. name is the
// metaconfig's; it is taken into the subscriptions and the messages. A warning
// names something that is ignored or read in another way than it says.
//
// The error is Invalid and says at which place each fault is. The
// subscriptions are those of the entries without a fault, also beside an
// error.
func Parse(name string, content []byte) (subs []Subscription, warnings []string, err error) {
	d, err := parse(name, content)
	return d.subs, d.warnings, err
}

// document is what Parse finds, and more.
type document struct {
	subs     []Subscription
	warnings []string
	// risky are the indexes of the entries whose command makes a shell do more
	// than run the downloader.
	risky []int
}

func parse(name string, content []byte) (document, error) {
	entries, warnings, err := splitEntries(content)
	if err != nil {
		return document{}, &store.Error{Op: "parsing metaconfig", Subject: name, Kind: store.Invalid, Err: err}
	}
	type file struct {
		dir  Type
		name string
	}
	d := document{warnings: warnings}
	first := make(map[file]int) // the entry that names it first
	var faults []string
	for i, raw := range entries {
		e := entry{name: name, index: i}
		sub, err := e.parse(raw)
		d.warnings = append(d.warnings, e.warnings...)
		if e.risky {
			d.risky = append(d.risky, i)
		}
		f := file{sub.Type, sub.File}
		if other, twice := first[f]; err == nil && twice {
			err = e.fault("command", fmt.Errorf("the file %q is that of entry [%d] already", sub.File, other))
		}
		if err != nil {
			faults = append(faults, err.Error())
			continue
		}
		first[f] = i
		d.subs = append(d.subs, sub)
	}
	if faults != nil {
		return d, &store.Error{Op: "parsing metaconfig", Subject: name, Kind: store.Invalid,
			Err: errors.New(strings.Join(faults, "; "))}
	}
	return d, nil
}

// splitEntries splits a metaconfig into the texts of its entries.
func splitEntries(content []byte) (entries []json.RawMessage, warnings []string, err error) {
	if len(bytes.TrimSpace(content)) == 0 {
		return nil, nil, errors.New("it is empty, want a JSON array of objects")
	}
	if !utf8.Valid(content) {
		offset := bytes.IndexFunc(content, func(r rune) bool { return r == utf8.RuneError })
		return nil, nil, fmt.Errorf("%s: it is not UTF-8", position(content, offset))
	}
	var document json.RawMessage
	if err := json.Unmarshal(content, &document); err != nil {
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			return nil, nil, fmt.Errorf("%s: it is not JSON: %w", position(content, int(syntax.Offset)-1), err)
		}
		return nil, nil, fmt.Errorf("it is not JSON: %w", err)
	}
	switch kind := jsonKind(document); kind {
	case "array":
		err = json.Unmarshal(document, &entries)
	case "object":
		warnings = append(warnings, "it is a single JSON object, read as an array of one: a Python monitor refuses it")
		entries = []json.RawMessage{document}
	default:
		err = fmt.Errorf("it is a JSON %s, want an array of objects", kind)
	}
	return entries, warnings, err
}

// position tells people where the byte at an offset is.
func position(content []byte, offset int) string {
	before := content[:min(max(offset, 0), len(content))]
	line := bytes.Count(before, []byte("\n")) + 1
	column := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
	return fmt.Sprintf("line %d, column %d", line, column)
}

// jsonKind names what a JSON text is. It must be valid and have no white space
// before it.
func jsonKind(raw json.RawMessage) string {
	switch raw[0] {
	case '{':
		return "object"
	case '[':
		return "array"
	case '"':
		return "string"
	case 't', 'f':
		return "boolean"
	case 'n':
		return "null"
	}
	return "number"
}

// entry parses one entry of a metaconfig.
type entry struct {
	name     string // the metaconfig's
	index    int
	fields   map[string]json.RawMessage
	warnings []string
	risky    bool // a shell would do more with the command than run the downloader
}

// fault says in which field of the metaconfig something is wrong.
func (e *entry) fault(field string, err error) error {
	return fmt.Errorf("[%d].%s: %w", e.index, field, err)
}

func (e *entry) warn(field, format string, args ...any) {
	e.warnings = append(e.warnings, fmt.Sprintf("[%d].%s: %s", e.index, field, fmt.Sprintf(format, args...)))
}

func (e *entry) parse(raw json.RawMessage) (Subscription, error) {
	if kind := jsonKind(raw); kind != "object" {
		return Subscription{}, fmt.Errorf("[%d]: it is a JSON %s, want an object", e.index, kind)
	}
	if err := json.Unmarshal(raw, &e.fields); err != nil {
		return Subscription{}, fmt.Errorf("[%d]: %w", e.index, err)
	}
	command, err := e.command()
	if err != nil {
		return Subscription{}, err
	}
	sub := Subscription{
		Metaconfig:     e.name,
		File:           command.File,
		RejectionRatio: command.RejectionRatio,
		MinimumSize:    command.MinimumSize,
	}
	if sub.Section, err = e.text("config_section_name"); err != nil {
		return Subscription{}, err
	}
	if sub.Section == "" {
		sub.Section = sub.File
	}
	if sub.Type, err = e.kind(command); err != nil {
		return Subscription{}, err
	}
	if sub.ZKPath, err = e.zkPath(command); err != nil {
		return Subscription{}, err
	}
	if sub.MaxWait, err = e.maxWait(); err != nil {
		return Subscription{}, err
	}
	if sub.AlertDisabled, err = e.alertDisabled(); err != nil {
		return Subscription{}, err
	}
	if sub.Type == Config {
		sub.KeyPrefix = command.KeyPrefix
	} else if command.KeyPrefix != "" {
		e.warn("command", "ignored --from-s3: a serverset is made of its members")
	}
	if path.Dir(command.Target) != sub.Type.dir() {
		e.warn("command", "-f names %s: the file is served as %q in the directory of the %ss",
			abbreviate(command.Target), sub.File, sub.Type)
	}
	return sub, nil
}

// text returns a field that must be a string; "" if it is missing or null.
func (e *entry) text(field string) (string, error) {
	raw, found := e.fields[field]
	if !found || jsonKind(raw) == "null" {
		return "", nil
	}
	var text string
	if kind := jsonKind(raw); kind != "string" {
		return "", e.fault(field, fmt.Errorf("it is a JSON %s, want a string", kind))
	}
	if err := json.Unmarshal(raw, &text); err != nil {
		return "", e.fault(field, err)
	}
	return text, nil
}

func (e *entry) command() (Command, error) {
	const field = "command"
	text, err := e.text(field)
	if err != nil {
		return Command{}, err
	}
	if text == "" {
		return Command{}, e.fault(field, errors.New("it is missing"))
	}
	command, warnings, err := parseCommand(text)
	e.risky = !command.Plain
	for _, warning := range warnings {
		e.warn(field, "%s", warning)
	}
	if err != nil {
		return Command{}, e.fault(field, err)
	}
	return command, nil
}

// kind is the type that the entry names, else the command's mode.
func (e *entry) kind(command Command) (Type, error) {
	text, err := e.text("type")
	if err != nil {
		return "", err
	}
	if text == "" {
		if command.Mode == Serverset {
			e.warn("type", "it is missing, and the command's -m says %q: a Python monitor takes it for a %q", Serverset, Config)
			return Serverset, nil
		}
		return Config, nil
	}
	kind, err := parseType(text)
	if err != nil {
		return "", e.fault("type", err)
	}
	if command.Mode != "" && command.Mode != kind {
		e.warn("type", "it is %q, which counts, but the command's -m says %q", kind, command.Mode)
	}
	return kind, nil
}

// zkPath is the znode that the entry names, else the command's.
func (e *entry) zkPath(command Command) (string, error) {
	zkPath, err := e.text("zk_path")
	if err != nil {
		return "", err
	}
	switch {
	case zkPath == "" && command.ZKPath == "":
		return "", e.fault("zk_path", errors.New("it is missing, and so is the command's -p"))
	case zkPath == "":
		zkPath = command.ZKPath
	case command.ZKPath != "" && command.ZKPath != zkPath:
		e.warn("zk_path", "it is %s, which counts, but the command's -p says %s", abbreviate(zkPath), abbreviate(command.ZKPath))
	}
	if err := checkZKPath(zkPath); err != nil {
		return "", e.fault("zk_path", err)
	}
	return zkPath, nil
}

// maxWait reads a number of seconds, which may stand in a string.
func (e *entry) maxWait() (time.Duration, error) {
	const field = "max_wait_in_secs"
	raw, found := e.fields[field]
	if !found || jsonKind(raw) == "null" {
		return 0, nil
	}
	text := string(raw)
	switch jsonKind(raw) {
	case "number":
	case "string":
		var err error
		if text, err = e.text(field); err != nil {
			return 0, err
		}
	default:
		return 0, e.fault(field, fmt.Errorf("it is a JSON %s, want a number", jsonKind(raw)))
	}
	// A number too large to be held is an infinite one, and an error.
	seconds, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if math.IsNaN(seconds) || err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, e.fault(field, fmt.Errorf("%q is not a number", text))
	}
	switch limit := MaxWait.Seconds(); {
	case seconds < 0:
		e.warn(field, "%s is negative: taken as 0", text)
		seconds = 0
	case seconds > limit:
		e.warn(field, "%s is more than %v: taken as that", text, MaxWait)
		seconds = limit
	}
	return time.Duration(seconds) * time.Second, nil
}

// alertDisabled reads the string "true" or "false".
func (e *entry) alertDisabled() (bool, error) {
	const field = "alert_disabled"
	raw, found := e.fields[field]
	if found && jsonKind(raw) == "boolean" {
		e.warn(field, "it is a JSON boolean: a Python monitor wants the string \"true\" or \"false\"")
		return raw[0] == 't', nil
	}
	text, err := e.text(field)
	if err != nil {
		return false, err
	}
	switch strings.ToLower(text) {
	case "true":
		return true, nil
	case "", "false":
	default:
		e.warn(field, "%s is neither \"true\" nor \"false\": taken as \"false\"", abbreviate(text))
	}
	return false, nil
}
