// Fetches the figures once a second and draws them.
import { by, count, duration, element, figure, tick } from '/api/status/elements.js'
import { Chart, GAP_SECONDS, view } from '/api/status/chart.js'

const KEPT_SECONDS = 600
const FETCH_MS = 1000
const FETCH_MS_MAX = 5000
const BARS_MAX = 12
// From this age on rows are late: the alert UgcNotFresh begins at twice of it.
const LATE_SECONDS = 60
// The points of which the large number is the average.
const AVERAGED = 5
const OUTCOMES = ['accepted', 'invalid', 'denied', 'unavailable', 'shed', 'cancelled']

let silentSince = 0

const rate = (value, isAxis) => (value === null || value === undefined ? '\u2013' : isAxis ? count(value) : `${count(value)}/s`)
const charts = [
  new Chart('events', [
    ...OUTCOMES.map((name) => ({ label: name, color: name, value: (one) => one.events && (one.events[name] ?? 0) })),
    { label: 'rows stored', color: 'stored', isLine: true, value: (one) => one.stored },
  ], rate, 1),
  new Chart('lag', [{ label: 'messages', color: 'lag', isLine: true, value: (one) => one.lag }], count, 10),
  new Chart('age', [{ label: 'age', color: 'age', isLine: true, value: (one) => one.age }], (value, isAxis) => (isAxis ? tick(value) : duration(value)), 5),
]

function bars(id, name, color) {
  const sums = new Map()
  for (const one of view.points.filter((each) => each.time >= view.now - view.shown)) {
    for (const [key, value] of Object.entries(one[name])) sums.set(key, (sums.get(key) ?? 0) + value)
  }
  const sorted = [...sums].sort((one, other) => other[1] - one[1])
  const rows = sorted.slice(0, BARS_MAX).map(([key, value]) => {
    const item = document.createElement('li'), row = element('div', 'row'), track = element('div', 'track'), bar = element('div', 'bar')
    row.append(element('span', 'name', key || '(none)'), element('span', 'count', count(value)))
    row.firstChild.title = key
    bar.style.width = `${(value / sorted[0][1]) * 100}%`
    bar.style.background = `var(--${color})`
    track.append(bar)
    item.append(row, track)
    return item
  })
  if (sorted.length > BARS_MAX) rows.push(element('li', 'muted', `and ${sorted.length - BARS_MAX} more`))
  if (!rows.length) rows.push(element('li', 'muted', `none in the last ${view.shown / 60} min`))
  by(`#${id}`).replaceChildren(...rows)
  return sorted.reduce((sum, [, value]) => sum + value, 0)
}

function draw() {
  const last = view.points[view.points.length - 1]
  for (const chart of charts) chart.draw()
  const total = bars('invalid', 'invalid', 'invalid') + bars('rows', 'rejected', 'unavailable')
  figure('rejected', count(total), view.shown === 60 ? 'in 1 min' : `in ${view.shown / 60} min`)
  if (!last) return
  const recent = view.points.slice(-AVERAGED).filter((one) => one.events).map((one) => one.events.accepted ?? 0)
  const accepted = last.events && recent.reduce((sum, value) => sum + value, 0) / recent.length
  figure('events', count(accepted), 'accepted/s', accepted === 0 && last.events.unavailable > 0)
  figure('lag', count(last.lag), last.lag === 1 ? 'message' : 'messages')
  figure('age', duration(last.age), 'old', last.age >= LATE_SECONDS)
}

function processes(states) {
  for (const one of states) {
    const box = by(`#process-${one.name}`)
    box.dataset.does ??= by('.reason', box).textContent
    const isReady = one.answers && !one.problem
    box.className = `process ${isReady ? 'good' : one.answers ? 'waiting' : 'bad'}`
    by('.state', box).textContent = isReady ? '\u2713 ready' : one.answers ? '! not ready' : '\u2717 no answer'
    const seconds = duration(Math.max(0, view.now - one.since))
    by('.reason', box).textContent = isReady ? `${box.dataset.does}, for ${seconds}` : `for ${seconds}: ${one.problem}`
  }
  const failing = states.filter((one) => one.problem).map((one) => one.name)
  document.title = failing.length ? `! ${failing.join(', ')} \u2013 ugc-events` : 'Live status of ugc-events'
}

function connection(text, isBad) {
  const target = by('#connection')
  target.className = isBad ? 'muted bad' : 'muted'
  if (target.textContent !== text) target.textContent = text
}

async function get(path) {
  const answer = await fetch(path, { cache: 'no-store', signal: AbortSignal.timeout(FETCH_MS_MAX) })
  if (!answer.ok) throw new Error(`status ${answer.status}`)
  return answer.json()
}

async function refresh() {
  const last = view.points.length ? view.points[view.points.length - 1].time : 0
  let found = await get(last ? '/api/status/latest.json' : '/api/status.json')
  if (last && found.points.length && found.points[0].time > last) found = await get('/api/status.json')
  view.now = found.now
  const first = found.points.length ? found.points[0].time : view.now
  view.points = [...view.points.filter((one) => one.time < first && one.time > view.now - KEPT_SECONDS - GAP_SECONDS), ...found.points]
  processes(found.processes)
  draw()
}

async function run() {
  try {
    await refresh()
    silentSince = 0
    connection('Updated every second', false)
  } catch (error) {
    silentSince ||= Date.now()
    connection(`ugc-up has not answered this page since ${new Date(silentSince).toLocaleTimeString('en-GB')}; the figures are from before`, true)
  }
  setTimeout(run, FETCH_MS)
}

for (const button of document.querySelectorAll('.ranges button')) {
  button.addEventListener('click', () => {
    view.shown = Number(button.dataset.seconds)
    for (const other of document.querySelectorAll('.ranges button')) other.setAttribute('aria-pressed', String(other === button))
    draw()
  })
}
run()
