package metaconfig

import (
	"errors"
	"fmt"
	"strings"
)

// tokenKind tells what a piece of a shell command is.
type tokenKind uint8

const (
	wordToken     tokenKind = iota
	operatorToken           // ends a simple command: ";", "&&", "|", "(", a newline, a comment …
	redirectToken           // ">", "2>&" …: the word after it belongs to it
)

// token is a piece of a shell command.
type token struct {
	kind tokenKind
	// text is the word after quotes are removed; of the others the characters
	// as they stand.
	text string
	// shell is, in a word, the first thing that only a shell could resolve: a
	// substitution, a variable, a pattern. "" if the word means itself.
	shell string
}

// splitCommand splits a command as a POSIX shell would, without expanding or
// running anything.
func splitCommand(command string) ([]token, error) {
	l := &lexer{in: command}
	for l.pos < len(l.in) {
		if err := l.token(); err != nil {
			return nil, fmt.Errorf("character %d: %w", l.pos+1, err)
		}
	}
	return l.tokens, nil
}

type lexer struct {
	in     string
	pos    int
	tokens []token
}

// peek returns the byte after the one at the position, 0 beyond the end.
func (l *lexer) peek() byte {
	if l.pos+1 < len(l.in) {
		return l.in[l.pos+1]
	}
	return 0
}

func (l *lexer) emit(kind tokenKind, length int) {
	l.tokens = append(l.tokens, token{kind: kind, text: l.in[l.pos : l.pos+length]})
	l.pos += length
}

// token reads what begins at the position, which is not within a word.
func (l *lexer) token() error {
	rest := l.in[l.pos:]
	digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
	switch c := rest[0]; {
	case c == ' ' || c == '\t':
		l.pos++
	case c == '\\' && l.peek() == '\n':
		l.pos += 2
	case c == '#':
		end := strings.IndexByte(rest, '\n')
		if end < 0 {
			end = len(rest)
		}
		l.emit(operatorToken, end)
	case strings.IndexByte("\n;&|()", c) >= 0:
		length := 1
		if l.peek() == c && strings.IndexByte(";&|", c) >= 0 {
			length = 2
		}
		l.emit(operatorToken, length)
	case digits < len(rest) && (rest[digits] == '<' || rest[digits] == '>'):
		l.emit(redirectToken, digits+redirectLen(rest[digits:]))
	default:
		return l.word()
	}
	return nil
}

// redirectLen returns the length of the redirection operator that s begins
// with.
func redirectLen(s string) int {
	for _, operator := range []string{"<<-", "<<", ">>", "<&", ">&", "<>", ">|"} {
		if strings.HasPrefix(s, operator) {
			return len(operator)
		}
	}
	return 1
}

// word reads one word, quoted parts and all.
func (l *lexer) word() error {
	var text strings.Builder
	shell := ""
	mark := func(what string) {
		if shell == "" {
			shell = what
		}
	}
	start := l.pos
	for l.pos < len(l.in) && strings.IndexByte(" \t\n;&|()<>", l.in[l.pos]) < 0 {
		switch c := l.in[l.pos]; c {
		case '\'':
			end := strings.IndexByte(l.in[l.pos+1:], '\'')
			if end < 0 {
				return errors.New("a single quote is not closed")
			}
			text.WriteString(l.in[l.pos+1 : l.pos+1+end])
			l.pos += end + 2
		case '"':
			if err := l.doubleQuoted(&text, mark); err != nil {
				return err
			}
		case '\\':
			// A backslash at the very end stands for itself.
			if next := l.peek(); l.pos+1 == len(l.in) {
				text.WriteByte(c)
			} else if next != '\n' {
				text.WriteByte(next)
			}
			l.pos = min(l.pos+2, len(l.in))
		case '$', '`':
			if next := l.peek(); c == '$' && (next == '\'' || next == '"') {
				mark("$" + string(next)) // quotes of another kind, to some shells
			}
			if err := l.expansion(&text, mark); err != nil {
				return err
			}
		default:
			if strings.IndexByte("*?[{", c) >= 0 || c == '~' && l.pos == start {
				mark(string(c))
			}
			text.WriteByte(c)
			l.pos++
		}
	}
	l.tokens = append(l.tokens, token{kind: wordToken, text: text.String(), shell: shell})
	return nil
}

// doubleQuoted reads from one double quote to the other.
func (l *lexer) doubleQuoted(text *strings.Builder, mark func(string)) error {
	start := l.pos
	for l.pos++; l.pos < len(l.in); {
		switch c := l.in[l.pos]; c {
		case '"':
			l.pos++
			return nil
		case '\\':
			next := l.peek()
			if strings.IndexByte("$`\"\\\n", next) < 0 || l.pos+1 == len(l.in) {
				text.WriteByte(c)
				l.pos++
				continue
			}
			if next != '\n' {
				text.WriteByte(next)
			}
			l.pos += 2
		case '$', '`':
			if err := l.expansion(text, mark); err != nil {
				return err
			}
		default:
			text.WriteByte(c)
			l.pos++
		}
	}
	l.pos = start
	return errors.New("a double quote is not closed")
}

// expansion reads what begins with "$" or "`", keeping its characters as they
// are. A "$" that begins nothing stands for itself.
func (l *lexer) expansion(text *strings.Builder, mark func(string)) error {
	var length int
	next := l.peek()
	switch {
	case l.in[l.pos] == '`' || next == '(' || next == '{':
		n, err := substitutionLen(l.in[l.pos:])
		if err != nil {
			return err
		}
		length = n
	case isWordChar(rune(next)):
		name := strings.TrimLeftFunc(l.in[l.pos+1:], isWordChar)
		length = len(l.in) - l.pos - len(name)
	case next != 0 && strings.IndexByte("@*#?-$!", next) >= 0:
		length = 2
	default:
		text.WriteByte('$')
		l.pos++
		return nil
	}
	mark(l.in[l.pos : l.pos+length])
	text.WriteString(l.in[l.pos : l.pos+length])
	l.pos += length
	return nil
}

// substitutionLen returns the length of the substitution that s begins with:
// "$(…)", "${…}" or "`…`", with all that is nested in it.
func substitutionLen(s string) (int, error) {
	var closers []byte // what must come to close what is open, innermost last
	for i := 0; i < len(s); i++ {
		c, top := s[i], byte(0)
		if len(closers) > 0 {
			top = closers[len(closers)-1]
		}
		switch {
		case c == '\\' && top != '\'':
			i++
		case c == top:
			closers = closers[:len(closers)-1]
			if len(closers) == 0 {
				return i + 1, nil
			}
		case top == '\'':
		case c == '$' && i+1 < len(s) && s[i+1] == '(':
			closers = append(closers, ')')
			i++
		case c == '$' && i+1 < len(s) && s[i+1] == '{':
			closers = append(closers, '}')
			i++
		case c == '(' && top == ')':
			closers = append(closers, ')')
		case c == '`', c == '"':
			closers = append(closers, c)
		case c == '\'' && top != '"':
			closers = append(closers, c)
		}
	}
	return 0, fmt.Errorf("the substitution %s is not closed", abbreviate(s))
}
