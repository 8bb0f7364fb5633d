package metaconfig

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/kingpinfs/kingpin/store"
)

// The defaults of the downloader's options.
const (
	DefaultRejectionRatio = 0.5
	DefaultMinimumSize    = 0
)

// Command is what the command of a metaconfig says, as far as it matters.
type Command struct {
	// Target is the path after -f as it is given. It is never used to find a
	// file: see File.
	Target string
	// File is the last element of Target, the name of the file to serve. It
	// has passed CheckFile.
	File string
	// ZKPath is the znode after -p, unchecked; "" if it isn't given.
	ZKPath string
	// Mode is the type after -m; "" if it isn't given.
	Mode Type
	// KeyPrefix is the prefix after --from-s3, without leading and doubled
	// slashes; "" if it isn't given.
	KeyPrefix string
	// RejectionRatio is the part of a serverset that must be left for a
	// smaller one to replace it at once, from 0 to 1.
	RejectionRatio float64
	// MinimumSize is the number of endpoints that must be left for the same.
	MinimumSize int
	// Plain says that a shell, given the command, would run the downloader
	// with exactly these words and nothing else.
	Plain bool
}

// ParseCommand reads the options out of a metaconfig's command without running
// it. What is not the downloader or one of its options is left out, and named
// in a warning. The error is Invalid: a word that doesn't end, an option
// without its value or with one that makes no sense, no -f.
func ParseCommand(command string) (Command, []string, error) {
	c, warnings, err := parseCommand(command)
	if err != nil {
		return Command{}, warnings, &store.Error{Op: "parsing command", Subject: shorten(command), Kind: store.Invalid, Err: err}
	}
	return c, warnings, nil
}

func parseCommand(command string) (Command, []string, error) {
	tokens, err := splitCommand(strings.Trim(command, "\n"))
	if err != nil {
		return Command{}, nil, err
	}
	words, ignored := downloaderWords(tokens)
	p := commandParser{
		words:   words,
		command: Command{RejectionRatio: DefaultRejectionRatio, MinimumSize: DefaultMinimumSize, Plain: len(ignored) == 0},
	}
	for _, text := range ignored {
		p.warn("ignored %s: a command is read for its options, never run", abbreviate(text))
	}
	switch err = p.parse(); {
	case words == nil:
		err = fmt.Errorf("it doesn't run %s", downloader)
	case err == nil && p.command.File == "" && p.shellFile != "":
		err = fmt.Errorf("the option -f: only a shell could tell what %s is in the path of the file to serve, and none is asked", abbreviate(p.shellFile))
	case err == nil && p.command.File == "":
		err = errors.New("the option -f is missing: it names the file to serve")
	}
	if p.unsaid > 0 {
		p.warnings = append(p.warnings, fmt.Sprintf("and %d more", p.unsaid))
	}
	return p.command, p.warnings, err
}

// downloader is the program whose options count.
const downloader = "zk_download_data.py"

// isDownloader recognizes it by path, and as a Python module.
func isDownloader(t token) bool {
	name := strings.TrimSuffix(path.Base(t.text), ".py")
	return t.kind == wordToken && t.shell == "" && name[strings.LastIndexByte(name, '.')+1:] == "zk_download_data"
}

// downloaderWords returns the words that follow the first mention of the
// downloader within its simple command, nil if there is none; and, each as one
// text, the pieces of the command that are something else.
func downloaderWords(tokens []token) (words []token, ignored []string) {
	var other []string // the piece that is being collected
	flush := func() {
		if other != nil {
			ignored = append(ignored, strings.Join(other, " "))
			other = nil
		}
	}
	inside := false // after the downloader, before the end of its command
	for i, t := range tokens {
		isTarget := i > 0 && tokens[i-1].kind == redirectToken
		switch {
		case t.kind == operatorToken:
			flush()
			inside = false
			other = append(other, t.text)
		case t.kind == redirectToken:
			other = append(other, t.text)
		case isTarget:
			other = append(other, t.text)
			if inside {
				flush()
			}
		case inside:
			words = append(words, t)
		case words == nil && isDownloader(t):
			flush()
			inside, words = true, []token{}
		default:
			other = append(other, t.text)
		}
	}
	flush()
	return words, ignored
}

// option is an option of the downloader.
type option struct {
	short    byte // 0: it has none
	long     string
	hasValue bool
	set      func(*commandParser, string) error // nil: it means nothing here
}

// options are all options that the downloader knows. Those of no use here are
// listed so that their values aren't taken for something else.
var options = []option{
	{'f', "file", true, (*commandParser).setFile},
	{'p', "path", true, (*commandParser).setPath},
	{'m', "mode", true, (*commandParser).setMode},
	{0, "from-s3", true, (*commandParser).setKeyPrefix},
	{'r', "serverset-rejection-ratio", true, (*commandParser).setRejectionRatio},
	{0, "serverset-minimum-size", true, (*commandParser).setMinimumSize},
	// Files whose content doesn't change are never touched.
	{0, "allow-same-content", false, func(*commandParser, string) error { return nil }},
	{'s', "show", false, nil},
	{'v', "value", true, nil},
	{0, "report-metadata", false, nil},
	{'l', "from-value-file", true, nil},
	{'o', "port", true, nil},
	{'z', "zk-hosts-file-path", true, nil},
	{'a', "aws-key-file", true, nil},
	{'b', "s3-bucket", true, nil},
	{'e', "aws-s3-endpoint", true, nil},
}

// commandParser reads the downloader's words as Python's argparse does.
type commandParser struct {
	words    []token
	command  Command
	warnings []string
	unsaid   int // warnings beyond maxWarnings

	shellFile string // what only a shell understands in the value of a -f; "" if nothing is
}

// maxWarnings is how many warnings one command may cause.
const maxWarnings = 10

func (p *commandParser) warn(format string, args ...any) {
	if len(p.warnings) == maxWarnings {
		p.unsaid++
		return
	}
	p.warnings = append(p.warnings, fmt.Sprintf(format, args...))
}

func (p *commandParser) parse() error {
	for len(p.words) > 0 {
		word := p.words[0]
		p.words = p.words[1:]
		if word.shell != "" {
			p.command.Plain = false
		}
		switch {
		case word.text == "--":
			for _, rest := range p.words {
				p.command.Plain = p.command.Plain && rest.shell == ""
				p.warn("ignored %s: it is not an option", abbreviate(rest.text))
			}
			return nil
		case strings.HasPrefix(word.text, "--"):
			if err := p.long(word); err != nil {
				return err
			}
		case strings.HasPrefix(word.text, "-") && len(word.text) > 1:
			if err := p.short(word); err != nil {
				return err
			}
		default:
			p.warn("ignored %s: it is not an option", abbreviate(word.text))
		}
	}
	return nil
}

// long reads an option by its long name, which may be cut short where that is
// unambiguous; and its value, after "=" or in the next word.
func (p *commandParser) long(word token) error {
	name, value, attached := strings.Cut(word.text[2:], "=")
	var found []option
	for _, o := range options {
		if o.long == name {
			found = []option{o}
			break
		}
		if strings.HasPrefix(o.long, name) {
			found = append(found, o)
		}
	}
	if len(found) != 1 {
		p.warn("ignored the option %s: it is not known", abbreviate(word.text))
		return nil
	}
	o := found[0]
	if attached && !o.hasValue {
		return fmt.Errorf("the option --%s takes no value", o.long)
	}
	return p.option(o, "--"+o.long, token{text: value, shell: word.shell}, attached)
}

// short reads an option by its letter: "-f x", "-fx", "-f=x", or behind others
// that take no value, "-sf x".
func (p *commandParser) short(word token) error {
	for rest := word.text[1:]; rest != ""; {
		letter := rest[0]
		rest = rest[1:]
		i := indexOption(letter)
		if i < 0 {
			p.warn("ignored the option %s: it is not known", abbreviate(word.text))
			return nil
		}
		o := options[i]
		value := token{text: strings.TrimPrefix(rest, "="), shell: word.shell}
		if err := p.option(o, "-"+string(letter), value, rest != ""); err != nil || o.hasValue {
			return err
		}
	}
	return nil
}

func indexOption(letter byte) int {
	for i, o := range options {
		if o.short != 0 && o.short == letter {
			return i
		}
	}
	return -1
}

// option applies an option. name is how it is called in messages; value counts
// if it was attached, otherwise the next word is taken.
func (p *commandParser) option(o option, name string, value token, attached bool) error {
	if o.hasValue && !attached {
		if len(p.words) == 0 || looksLikeOption(p.words[0].text) {
			return fmt.Errorf("the option %s has no value", name)
		}
		value = p.words[0]
		p.words = p.words[1:]
	}
	switch {
	case o.hasValue && value.shell != "":
		p.command.Plain = false
		if o.short == 'f' {
			p.shellFile = value.shell
		}
		p.warn("ignored the option %s: only a shell could tell what %s is in its value", name, abbreviate(value.shell))
		return nil
	case o.set == nil:
		p.warn("ignored the option %s: it means nothing to this monitor", name)
		return nil
	case o.hasValue && value.text == "":
		return fmt.Errorf("the option %s has an empty value", name)
	}
	if err := o.set(p, value.text); err != nil {
		return fmt.Errorf("the option %s: %w", name, err)
	}
	return nil
}

// looksLikeOption tells options from values; negative numbers are values.
func looksLikeOption(word string) bool {
	if _, err := strconv.ParseFloat(word, 64); err == nil {
		return false
	}
	return len(word) > 1 && word[0] == '-'
}

// setFile keeps what follows the last slash: a path that climbs out of its
// directory names a file within it all the same.
func (p *commandParser) setFile(value string) error {
	file := value[strings.LastIndexByte(value, '/')+1:]
	if err := CheckFile(file); err != nil {
		return fmt.Errorf("the path %s: %w", abbreviate(value), err)
	}
	p.command.Target, p.command.File = value, file
	return nil
}

func (p *commandParser) setPath(value string) error {
	p.command.ZKPath = value
	return nil
}

func (p *commandParser) setMode(value string) error {
	mode, err := parseType(value)
	p.command.Mode = mode
	return err
}

func (p *commandParser) setKeyPrefix(value string) error {
	parts := strings.FieldsFunc(value, func(c rune) bool { return c == '/' })
	prefix := strings.Join(parts, "/")
	switch {
	case prefix == "":
		return fmt.Errorf("%q holds no key", value)
	case strings.ContainsFunc(prefix, forbiddenInPath):
		return fmt.Errorf("%q holds a control character or isn't UTF-8", value)
	}
	p.command.KeyPrefix = prefix
	return nil
}

func (p *commandParser) setRejectionRatio(value string) error {
	ratio, err := strconv.ParseFloat(value, 64)
	if err != nil || ratio != ratio {
		return fmt.Errorf("%q is not a number", value)
	}
	p.command.RejectionRatio = min(max(ratio, 0), 1)
	if p.command.RejectionRatio != ratio {
		p.warn("the rejection ratio %s is not between 0 and 1: taken as %g", value, p.command.RejectionRatio)
	}
	return nil
}

func (p *commandParser) setMinimumSize(value string) error {
	size, err := strconv.Atoi(value)
	if err != nil {
		return fmt.Errorf("%q is not a whole number", value)
	}
	p.command.MinimumSize = max(size, 0)
	if size < 0 {
		p.warn("the minimum size %s is negative: taken as 0", value)
	}
	return nil
}

// abbreviate quotes a text for a message.
func abbreviate(text string) string { return strconv.Quote(shorten(text)) }

// shorten cuts what is too long for a message.
func shorten(text string) string {
	const most = 80
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
