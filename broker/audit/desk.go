// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"time"

	"github.com/cardbroker/cardbroker"
)

const (
	maxWaiting  = 16384 // events, of all together
	maxBatch    = 1024  // events that are written at once
	reportLost  = 10 * time.Second
	cleanUp     = time.Hour       // after which idle accounts are forgotten
	lastAttempt = 3 * time.Second // to write what is left when the log ends
)

// desk takes events, bounds what each payer has in the queue, and hands batches to the writer. Its goroutine never waits for
// a disk.
type desk struct {
	log      *Log
	accounts map[payer]*account
	waiting  []entry // in the order in which they came
	writing  []entry // the batch that the writer has; nil: it is idle
	failing  error   // why the writer tries again; nil: it does not
	flushes  []flush
	taken    uint64 // events that were put into the queue
	written  uint64 // of them on the disk

	reportAt time.Time // when losses are recorded; zero: there are none
	cleanAt  time.Time
}

// flush waits until so many events are on the disk.
type flush struct {
	want     uint64
	answered chan error // capacity 1
}

func newDesk(l *Log) *desk {
	d := &desk{log: l, accounts: make(map[payer]*account), cleanAt: time.Now().Add(cleanUp)}
	for _, e := range l.writer.found {
		d.take(e)
	}
	return d
}

// run takes events until ctx ends, and then sees to it that what is there is written, if that is possible.
func (d *desk) run(ctx context.Context) {
	for ctx.Err() == nil {
		d.step(ctx.Done(), d.wake())
	}
	for len(d.log.inbox) > 0 {
		d.take(<-d.log.inbox)
	}
	d.report()
	end := time.Now().Add(lastAttempt)
	for (len(d.waiting) > 0 || d.writing != nil) && d.failing == nil && time.Now().Before(end) {
		d.step(nil, end)
	}
	d.answer(cardbroker.Errorf(cardbroker.Unavailable, "the audit log is closed"))
}

// wake is when something is due though no event comes.
func (d *desk) wake() time.Time {
	if !d.reportAt.IsZero() && d.reportAt.Before(d.cleanAt) {
		return d.reportAt
	}
	return d.cleanAt
}

// step waits for the next thing to do and does it.
func (d *desk) step(done <-chan struct{}, until time.Time) {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	var jobs chan<- []entry
	n := min(len(d.waiting), maxBatch)
	batch := d.waiting[:n:n] // what is appended never reaches into it
	if n > 0 && d.writing == nil {
		jobs = d.log.writer.jobs
	}
	select {
	case e := <-d.log.inbox:
		d.take(e)
		for range min(len(d.log.inbox), maxBatch) { // only this goroutine takes
			d.take(<-d.log.inbox)
		}
	case jobs <- batch:
		d.writing, d.waiting = batch, d.waiting[n:]
	case err := <-d.log.writer.results:
		d.hear(err)
	case <-timer.C:
		d.tick(time.Now())
	case <-done:
	}
	if missed := d.log.missed.Swap(0); missed > 0 {
		d.lose(d.account(payer{}), missed)
	}
}

// take puts an event into the queue, or counts it as lost.
func (d *desk) take(e entry) {
	if e.flushed != nil {
		d.flushes = append(d.flushes, flush{d.taken, e.flushed})
		d.answer(d.failing)
		return
	}
	a := d.account(e.payer)
	allowed := e.record.By == byBroker || mayBeSaid(e.record.Name)
	if allowed && len(d.waiting) < maxWaiting && a.admit(e.record.Time) {
		d.enqueue(e)
		return
	}
	d.lose(a, 1)
}

func (d *desk) enqueue(e entry) {
	d.account(e.payer).waiting++
	d.waiting = append(d.waiting, e)
	d.taken++
}

func (d *desk) account(p payer) *account {
	a := d.accounts[p]
	if a == nil {
		a = newAccount(p)
		d.accounts[p] = a
	}
	return a
}

func (d *desk) lose(a *account, n uint64) {
	a.lost += n
	d.log.lost.Add(n)
	if d.reportAt.IsZero() {
		d.reportAt = time.Now().Add(reportLost)
	}
}

// hear notes what the writer says of its batch: it is on the disk, or it is tried again.
func (d *desk) hear(err error) {
	if d.failing = err; err == nil {
		for _, e := range d.writing {
			d.account(e.payer).waiting--
		}
		d.written += uint64(len(d.writing))
		d.writing = nil
	}
	d.answer(err)
}

// answer lets those go whose events are on the disk, and all others too if there is an error.
func (d *desk) answer(err error) {
	kept := d.flushes[:0]
	for _, f := range d.flushes {
		switch {
		case f.want <= d.written:
			f.answered <- nil
		case err != nil:
			f.answered <- err
		default:
			kept = append(kept, f)
		}
	}
	d.flushes = kept
}

// tick records losses when that is due, and forgets accounts that say nothing.
func (d *desk) tick(now time.Time) {
	if !d.reportAt.IsZero() && !now.Before(d.reportAt) {
		if d.failing == nil && len(d.waiting) < maxBatch {
			d.report()
		} else {
			d.reportAt = now.Add(reportLost) // one report for all that is lost meanwhile
		}
	}
	if now.Before(d.cleanAt) {
		return
	}
	d.cleanAt = now.Add(cleanUp)
	for p, a := range d.accounts {
		if a.idle(now) {
			delete(d.accounts, p)
		}
	}
}

// report records how many events each payer has lost since the last report.
func (d *desk) report() {
	d.reportAt = time.Time{}
	for p, a := range d.accounts {
		if a.lost == 0 {
			continue
		}
		var of *cardbroker.AgentKey
		if p.named {
			of = &cardbroker.AgentKey{User: p.user}
		}
		e := newEntry(of, cardbroker.Event{Name: cardbroker.EventEventsLost, Tenant: p.tenant, Count: a.lost, Detail: p.kind.String()}, byBroker)
		e.payer = payer{} // who has lost some has no room
		a.lost = 0
		d.enqueue(e)
	}
}
