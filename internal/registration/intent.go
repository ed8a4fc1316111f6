/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package registration

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Intent is the record that is persisted before a registration is sent. It is
// kept on the Agent, where users can write: only its signature makes it evidence.
// Its text is "<time>/<random>[~<digest of what is sent>].<mark>[@<time of the first attempt>]-<signature>".
type Intent struct {
	// At is when the intent was written; zero if the text holds no such time.
	At time.Time
	// First is when the first attempt was made whose outcome is still unknown. It
	// equals At unless the registration was tried before.
	First time.Time
	// Sent is a digest of the configuration that the registration sends; empty if the text holds none.
	Sent string

	mark string // see Foreign
	text string
}

// longestDoubt bounds how long before an intent the first attempt may have been. Within that time an agent with an explicit
// machine ID that shows what was sent counts as ours, whoever registered it.
const longestDoubt = time.Hour

// Signer signs a text with the project token. The signature does not reveal the token.
type Signer func(text string) string

// Subject is what an intent is bound to.
type Subject struct {
	// UID of the Agent.
	UID string
	// URL of the endpoint that the registration is sent to. The signer's token
	// names the project.
	URL string
	// MachineID that the registration is sent with. Users can change which one an Agent has, by what it adopts elsewhere.
	MachineID string
	// Derived is the machine ID that is derived for the Agent, whatever it has. An Agent that a backup restores has the same.
	Derived string
}

// Attempt is the one request that an intent permits.
type Attempt struct {
	// First is when the first attempt was made whose outcome is still unknown; zero if this is the first.
	First time.Time
	// Sent is the Digest of the configuration that it sends. It may be empty.
	Sent string
}

// NewIntent returns an intent that is later than the last one, open or closed:
// one that is not later than the one closed last is spent. A first attempt longer ago than longestDoubt is cut to that.
func NewIntent(now time.Time, attempt Attempt, closed Intent, subject Subject, sign Signer) (Intent, error) {
	at := now.UTC()
	if !closed.At.IsZero() && !at.After(closed.At) {
		at = closed.At.Add(time.Nanosecond).UTC() // Another replica's clock was ahead.
	}
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return Intent{}, err
	}
	body := at.Format(time.RFC3339Nano) + "/" + hex.EncodeToString(random[:])
	if attempt.Sent != "" {
		body += "~" + attempt.Sent
	}
	mark := subject.mark()
	body += "." + mark
	first := attempt.First
	if earliest := at.Add(-longestDoubt); !first.IsZero() && first.Before(earliest) {
		first = earliest
	}
	switch {
	case first.IsZero():
		first = at
	case !first.Before(at): // By another replica's clock. That there was one must not be forgotten.
		first = at.Add(-time.Nanosecond)
		fallthrough
	default:
		body += "@" + first.UTC().Format(time.RFC3339Nano)
	}
	return Intent{At: at, First: first.UTC(), Sent: attempt.Sent, mark: mark, text: body + "-" + signature(body, subject, sign)}, nil
}

// endOfTime is from which year on a time counts as none: there has to be a later
// one that can be written.
const endOfTime = 9000

// ParseIntent reads an intent. It never fails: a text that holds no readable
// time has a zero At, and its signature does not verify.
func ParseIntent(text string) Intent {
	intent := Intent{text: text}
	head, rest, _ := strings.Cut(text, "/")
	body := rest
	if end := strings.IndexAny(rest, "@-"); end >= 0 {
		body = rest[:end]
	}
	named, mark, _ := strings.Cut(body, ".")
	intent.mark = mark
	at, err := time.Parse(time.RFC3339Nano, head)
	if err != nil || at.Year() >= endOfTime {
		return intent
	}
	intent.At, intent.First = at, at
	_, intent.Sent, _ = strings.Cut(named, "~")
	if _, tries, repeated := strings.Cut(rest, "@"); repeated {
		first, err := time.Parse(time.RFC3339Nano, tries[:max(strings.LastIndex(tries, "-"), 0)])
		if err == nil && first.Before(at) {
			intent.First = first
		}
	}
	return intent
}

// String is the text that is persisted; empty for no intent.
func (i Intent) String() string { return i.text }

// IsZero reports whether there is no intent.
func (i Intent) IsZero() bool { return i.text == "" }

// Authentic reports whether a holder of the signer's token wrote the intent for
// this subject.
func (i Intent) Authentic(subject Subject, sign Signer) bool {
	cut := strings.LastIndex(i.text, "-")
	return cut > 0 && hmac.Equal([]byte(i.text[cut+1:]), []byte(signature(i.text[:cut], subject, sign)))
}

// Moved returns the intent for another URL, with the same times and digest, if a holder of the signer's token wrote it for this subject.
// Any other intent stays as it is.
func (i Intent) Moved(subject Subject, url string, sign Signer) Intent {
	if !i.Authentic(subject, sign) {
		return i
	}
	body := i.text[:strings.LastIndex(i.text, "-")]
	subject.URL = url
	i.text = body + "-" + signature(body, subject, sign)
	return i
}

// Began is when the intent was written. It is not known where the text holds no
// time, or one that is yet to come.
func (i Intent) Began(now time.Time) (at time.Time, known bool) {
	return i.At, !i.At.IsZero() && !i.At.After(now)
}

// maxAhead is how far the clock of another replica may be ahead, now or when it wrote the intent that was closed before: a wrong date, too.
const maxAhead = 100 * 365 * 24 * time.Hour

// Plausible reports whether an operator can have written the intent. One from the far future is forged: to close it
// would leave no later time for the next.
func (i Intent) Plausible(now time.Time) bool { return !i.At.After(now.Add(maxAhead)) }

// Spent reports whether the intent was closed, or is not later than the one that
// was closed last. A spent intent entitles to nothing, whoever restores it. One
// without a time is spent, too, where one with a time was closed: else closing it
// would forget that time.
func (i Intent) Spent(closed Intent) bool {
	switch {
	case closed.IsZero():
		return false
	case i.text == closed.text:
		return true
	}
	return !closed.At.IsZero() && !i.At.After(closed.At)
}

// Foreign reports whether the intent was written for another Agent, from whose manifest it was copied: its mark shows neither this
// Agent nor one with its name in the same cluster, which a backup restores. Then nothing of this Agent is in doubt. The mark is no
// evidence of anything else. An intent without a mark is foreign if it is older than the Agent.
func (i Intent) Foreign(agent Subject, created time.Time) bool {
	if own := agent.mark(); len(i.mark) == len(own) {
		return i.mark[:markPart] != own[:markPart] && i.mark[markPart:] != own[markPart:]
	}
	return !i.At.IsZero() && CreatedBefore(i.At, created)
}

// Excludes reports whether the registration of the intent cannot have created an agent that shows another configuration, by its digest:
// after a lost response nobody has the token that could change it. An intent without a digest excludes nothing. What an earlier attempt
// sent does not count.
func (i Intent) Excludes(shown string) bool { return i.Sent != "" && shown != "" && shown != i.Sent }

// Digest is of a configuration that the registration of an Agent sends. Nobody without the project token can test guesses with it.
func (s Subject) Digest(hash string, sign Signer) string {
	return sign("configuration " + s.UID + " " + hash)[:digestSize]
}

// digestSize is 48 bits.
const digestSize = 12

// markPart is the length of each part of a mark.
const markPart = 8

// mark shows, without the token that signed an intent, which Agent it was written for: by its UID, and by its cluster, namespace and name.
func (s Subject) mark() string {
	part := func(of string) string {
		sum := sha256.Sum256([]byte(of))
		return hex.EncodeToString(sum[:markPart/2])
	}
	return part(s.UID) + part(s.Derived)
}

func signature(body string, subject Subject, sign Signer) string {
	return sign(subject.UID + " " + body + " " + subject.URL + " " + subject.MachineID)
}

// DerivedMachineID is the machine ID of an Agent that declares none. The same cluster, namespace and name always give
// the same one, so that an Agent restored from a backup finds its remote agent again.
func DerivedMachineID(clusterID, namespace, name string) string {
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte("cloud.calyptia.com/"+clusterID+"/"+namespace+"/"+name)).String()
}

// LooksDerived reports whether a machine ID has the form of a derived one, for whatever Agent, in small letters or not: a
// service may take them for the same. Whoever registered it under such a name keeps the token, also when the Agent with that
// name adopts the remote agent later.
func LooksDerived(machineID string) bool {
	id, err := uuid.Parse(machineID)
	return err == nil && id.Version() == 5 && strings.EqualFold(id.String(), machineID)
}
