// Charts over time, in SVG; all of them show the same points.
import { by, ceiling, element, make } from '/api/status/elements.js'

// The points, how many seconds of them are shown, and the time of the server.
export const view = { points: [], shown: 300, now: 0 }
// Two points that are further apart have a gap between them.
export const GAP_SECONDS = 5
const LEFT = 46, RIGHT = 8, TOP = 8, BOTTOM = 20

export class Chart {
  constructor(id, series, format, atLeast) {
    Object.assign(this, { series, format, atLeast, name: by(`#${id} h2`).textContent })
    this.box = by(`#${id} .chart`)
    this.at = null
    this.legend = series.map((one) => {
      const item = document.createElement('li')
      const mark = element('i', one.isLine && series.length > 1 ? 'dashed' : '')
      if (!mark.className) mark.style.background = `var(--${one.color})`
      const value = element('b', '')
      item.append(mark, document.createTextNode(one.label), value)
      by(`#${id} .legend`).append(item)
      return value
    })
    this.moment = element('li', 'moment')
    by(`#${id} .legend`).append(this.moment)
    this.box.addEventListener('pointermove', (event) => this.point(event.clientX))
    this.box.addEventListener('pointerdown', (event) => this.point(event.clientX))
    this.box.addEventListener('pointerleave', () => this.move(null))
    this.box.addEventListener('blur', () => this.move(null))
    this.box.addEventListener('keydown', (event) => this.key(event))
    new ResizeObserver(() => this.draw()).observe(this.box)
  }

  x(time) {
    return LEFT + ((time - (view.now - view.shown)) / view.shown) * (this.box.clientWidth - LEFT - RIGHT)
  }

  point(clientX) {
    const width = this.box.clientWidth - LEFT - RIGHT
    const part = (clientX - this.box.getBoundingClientRect().left - LEFT) / width
    this.move(Math.min(Math.max(part, 0), 1) * view.shown + view.now - view.shown)
  }

  key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key]
    if (event.key === 'Escape') this.move(null)
    if (!step) return
    event.preventDefault()
    const seconds = step * Math.max(1, view.shown / 60)
    this.move(Math.min(Math.max((this.at ?? view.now) + seconds, view.now - view.shown), view.now))
  }

  move(time) {
    this.at = time
    this.draw()
  }

  // The point that is nearest to the chosen moment, or the latest one.
  chosen() {
    if (this.at === null) return view.points[view.points.length - 1]
    return view.points.reduce((best, one) => (Math.abs(one.time - this.at) < Math.abs(best.time - this.at) ? one : best), view.points[0])
  }

  draw() {
    const width = this.box.clientWidth, height = this.box.clientHeight
    if (width <= LEFT + RIGHT) return
    const visible = view.points.filter((one) => one.time >= view.now - view.shown - GAP_SECONDS)
    const stacked = this.series.filter((one) => !one.isLine)
    let high = this.atLeast
    for (const one of visible) {
      const shown = stacked.length ? stacked : this.series
      high = Math.max(high, shown.reduce((sum, each) => sum + (each.value(one) ?? 0), 0))
    }
    // A line above areas may double the scale; what is higher is cut off, or the areas could not be seen.
    if (stacked.length) {
      const lines = this.series.filter((each) => each.isLine)
      high = Math.max(high, Math.min(2 * high, ...lines.map((each) => Math.max(...visible.map((one) => each.value(one) ?? 0)))))
    }
    const top = ceiling(high)
    const y = (value) => height - BOTTOM - Math.min(value / top, 1) * (height - TOP - BOTTOM)
    const root = make('svg', { 'aria-hidden': 'true', viewBox: `0 0 ${width} ${height}` })
    const hatch = make('pattern', { id: 'hatch', width: 8, height: 8, patternUnits: 'userSpaceOnUse' })
    hatch.append(make('path', { d: 'M-2 2 2 -2M0 8 8 0M6 10 10 6' }))
    root.append(hatch)
    const inner = make('svg', { x: LEFT, y: 0, width: width - LEFT - RIGHT, height, viewBox: `${LEFT} 0 ${width - LEFT - RIGHT} ${height}` })
    this.axes(root, width, height, y, top)
    this.gaps(inner, visible, height)
    this.areas(inner, visible, stacked, y)
    for (const one of this.series.filter((each) => each.isLine)) this.line(inner, visible, one, y)
    root.append(inner)
    const chosen = this.chosen()
    if (this.at !== null && chosen) {
      const at = this.x(chosen.time)
      root.append(make('line', { class: 'cursor', x1: at, x2: at, y1: TOP, y2: height - BOTTOM }))
    }
    this.box.replaceChildren(root)
    this.read(chosen)
  }

  axes(root, width, height, y, top) {
    for (const value of [0, top / 2, top]) {
      root.append(make('line', { class: 'grid', x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }))
      root.append(make('text', { x: LEFT - 6, y: y(value) + 4, 'text-anchor': 'end' }, this.format(value, true)))
    }
    for (const [part, anchor] of [[0, 'start'], [0.5, 'middle'], [1, 'end']]) {
      const back = view.shown * (1 - part)
      const text = back ? `${back < 120 ? `${back} s` : `${back / 60} min`} ago` : 'now'
      root.append(make('text', { x: this.x(view.now - back), y: height - 4, 'text-anchor': anchor }, text))
    }
  }

  // Where there is no figure: hatched.
  gaps(root, visible, height) {
    const known = visible.filter((one) => this.series[0].value(one) !== null)
    const times = [Math.max(view.now - view.shown, view.points.length ? view.points[0].time : view.now), ...known.map((one) => one.time), view.now]
    for (let index = 1; index < times.length; index += 1) {
      if (times[index] - times[index - 1] <= GAP_SECONDS) continue
      const left = this.x(times[index - 1]), right = this.x(times[index])
      root.append(make('rect', { class: 'gap', x: left, width: right - left, y: TOP, height: height - TOP - BOTTOM }))
    }
  }

  // Runs of points without a gap, with their values.
  runs(visible, value) {
    const found = []
    let before = null
    for (const one of visible) {
      const known = value(one)
      if (known === null || known === undefined) continue
      if (before === null || one.time - before > GAP_SECONDS) found.push([])
      found[found.length - 1].push([this.x(one.time), known, one])
      before = one.time
    }
    return found
  }

  areas(root, visible, stacked, y) {
    if (!stacked.length) return
    for (const run of this.runs(visible, stacked[0].value)) {
      let below = run.map(() => 0)
      for (const series of stacked) {
        const above = run.map(([, , one], index) => below[index] + (series.value(one) ?? 0))
        if (above.some((value, index) => value > below[index])) {
          const upper = run.map(([x], index) => `${x.toFixed(1)} ${y(above[index]).toFixed(1)}`)
          const lower = run.map(([x], index) => `${x.toFixed(1)} ${y(below[index]).toFixed(1)}`).reverse()
          const area = make('path', { class: 'area', d: `M${upper.join('L')}L${lower.join('L')}Z` })
          area.style.fill = `var(--${series.color})`
          root.append(area)
        }
        below = above
      }
    }
  }

  line(root, visible, series, y) {
    for (const run of this.runs(visible, series.value)) {
      const upper = run.map(([x, value]) => `${x.toFixed(1)} ${y(value).toFixed(1)}`)
      if (this.series.length === 1) {
        const area = make('path', { class: 'area', d: `M${run[0][0]} ${y(0)}L${upper.join('L')}L${run[run.length - 1][0]} ${y(0)}Z`, 'fill-opacity': 0.18 })
        area.style.fill = `var(--${series.color})`
        root.append(area)
      }
      const curve = make('path', { class: 'curve', d: `M${upper.join('L')}`, 'stroke-dasharray': this.series.length > 1 ? '5 3' : 'none' })
      curve.style.stroke = `var(--${series.color})`
      root.append(curve)
    }
  }

  read(chosen) {
    const values = this.series.map((one) => (chosen ? one.value(chosen) : null))
    values.forEach((value, index) => { this.legend[index].textContent = this.format(value) })
    this.moment.textContent = this.at === null || !chosen ? '' : `at ${new Date(chosen.time * 1000).toLocaleTimeString('en-GB')}`
    const figures = this.series.map((one, index) => `${one.label} ${this.format(values[index])}`).join(', ')
    this.box.setAttribute('aria-label', `${this.name}, the last ${view.shown / 60} minutes. ${this.moment.textContent || 'Now'}: ${figures}`)
  }
}
