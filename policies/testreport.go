package policies

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

// WriteText writes the report for a person.
func (r *TestReport) WriteText(w io.Writer) error {
	var b strings.Builder
	for _, d := range r.Diagnostics {
		fmt.Fprintln(&b, d)
	}
	count := map[string]int{}
	for _, t := range r.Tests {
		count[t.Outcome]++
		fmt.Fprintf(&b, "%-5s %s:%d %s (%d steps)\n", t.Outcome, t.File, t.Row, t.Name, t.Steps)
		if t.Message != "" {
			fmt.Fprintln(&b, "      "+strings.ReplaceAll(t.Message, "\n", "\n      "))
		}
	}
	for _, c := range r.Coverage {
		fmt.Fprintf(&b, "cover %s %.1f%%", c.File, c.Percent)
		if len(c.NotCovered) > 0 {
			fmt.Fprintf(&b, ", no test reaches line %s", strings.Trim(fmt.Sprint(c.NotCovered), "[]"))
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "%d passed, %d failed, %d errors, %d skipped\n", count[OutcomePass], count[OutcomeFail], count[OutcomeError], count[OutcomeSkip])
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteJSON writes the report as one JSON object, indented.
func (r *TestReport) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(r)
}

type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Failure *junitMessage `xml:"failure,omitempty"`
	Error   *junitMessage `xml:"error,omitempty"`
	Skipped *junitMessage `xml:"skipped,omitempty"`
}

type junitMessage struct {
	Message string `xml:"message,attr"`
}

// WriteJUnit writes the report in the XML form that CI systems read. A file that
// does not compile is a test case with an error.
func (r *TestReport) WriteJUnit(w io.Writer) error {
	s := junitSuite{Name: "release policies"}
	for _, d := range r.Diagnostics {
		if d.Severity == SeverityError {
			s.Errors++
			s.Cases = append(s.Cases, junitCase{Class: d.File, Name: "compile", Error: &junitMessage{d.String()}})
		}
	}
	for _, t := range r.Tests {
		c := junitCase{Class: t.File, Name: t.Name}
		switch t.Outcome {
		case OutcomeFail:
			s.Failures++
			c.Failure = &junitMessage{t.Message}
		case OutcomeError:
			s.Errors++
			c.Error = &junitMessage{t.Message}
		case OutcomeSkip:
			s.Skipped++
			c.Skipped = &junitMessage{"todo"}
		}
		s.Cases = append(s.Cases, c)
	}
	s.Tests = len(s.Cases)
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(s); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}
