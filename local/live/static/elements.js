// Elements of the page, and numbers as text.
const SVG = 'http://www.w3.org/2000/svg'

export const by = (selector, root = document) => root.querySelector(selector)

export function make(name, attributes = {}, text = '') {
  const made = document.createElementNS(SVG, name)
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value)
  made.textContent = text
  return made
}

export function element(name, className, text = '') {
  const made = document.createElement(name)
  made.className = className
  made.textContent = text
  return made
}

export function count(value) {
  if (value === null || value === undefined) return '\u2013'
  if (value >= 1e6) return `${+(value / 1e6).toFixed(value < 1e7 ? 2 : 1)} M`
  if (value >= 1e4) return `${+(value / 1e3).toFixed(1)} k`
  return value.toLocaleString('en', { maximumFractionDigits: value < 10 && value % 1 ? 1 : 0 })
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return '\u2013'
  if (seconds < 10) return `${seconds.toFixed(1)} s`
  if (seconds < 120) return `${Math.round(seconds)} s`
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min ${Math.round(seconds) % 60} s`
  return `${(seconds / 3600).toFixed(1)} h`
}

export function tick(seconds) {
  return seconds < 120 ? `${+seconds.toFixed(1)} s` : `${+(seconds / 60).toFixed(1)} min`
}

// The smallest of 1, 2, 2.5, 5 times a power of ten that is not below a value.
export function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1e-9)))
  return [1, 2, 2.5, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999)
}

// The large number of a card; one that needs a person is red.
export function figure(id, value, unit, isBad = false) {
  const target = by(`#${id} .figure`)
  target.classList.toggle('bad', isBad)
  target.replaceChildren(document.createTextNode(value), element('small', '', unit && ` ${unit}`))
}
