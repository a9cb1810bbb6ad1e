package skr

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 1 << 20

// APIError is an answer that is not 200, in the envelope of wire.md §1.6. Code and
// Message are empty when the body is no such envelope.
type APIError struct {
	Op        string // "attest" or "release"
	Status    int
	Code      string // error.code
	Message   string
	RequestID string // x-ms-request-id
}

func (e *APIError) Error() string {
	return fmt.Sprintf("%s answered %d %s: %s (x-ms-request-id %s)", e.Op, e.Status, e.Code, e.Message, e.RequestID)
}

// post sends a JSON body, with a bearer token unless that is empty, and decodes a 200
// into out. A redirect is an [APIError]: a real client would repeat it without body.
func post(ctx context.Context, client *http.Client, op, url, bearer string, body []byte, out any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	req.Header.Set("Content-Type", "application/json")
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	if client == nil {
		client = http.DefaultClient
	}
	once := *client
	once.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := once.Do(req)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%s: reading the answer: %w", op, err)
	}
	if resp.StatusCode != http.StatusOK {
		return failure(op, resp, answer)
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%s: the answer is not the JSON expected: %w", op, err)
	}
	return nil
}

func failure(op string, resp *http.Response, body []byte) *APIError {
	var envelope struct {
		Error struct{ Code, Message string }
	}
	e := &APIError{Op: op, Status: resp.StatusCode, RequestID: resp.Header.Get("x-ms-request-id")}
	if json.Unmarshal(body, &envelope) == nil {
		e.Code, e.Message = envelope.Error.Code, envelope.Error.Message
	}
	return e
}
