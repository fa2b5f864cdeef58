/**
 * A report's HTML made safe to show: rebuilt from the tags that docs/protocol.md section 8 names, everything else left out.
 *
 * It is shown in a sandboxed frame where no script runs; this is the second lock. Links are those to images
 * (`#instance=UID` and `&frame=N`), and lead the application's own page there.
 */

const TAGS = new Set(
  'HTML HEAD META TITLE BODY SECTION H1 H2 H3 H4 H5 H6 P UL OL LI STRONG EM SMALL BR A TABLE THEAD TBODY TR TH TD'.split(' '),
);
/** Of these not even the text is shown. */
const DROPPED = new Set('SCRIPT STYLE TEMPLATE NOSCRIPT IFRAME OBJECT EMBED SVG MATH HEAD TITLE META LINK'.split(' '));
const LINK = /^#instance=[0-9.]{1,64}(&frame=[0-9]{1,6})?$/;
const MAX_NODES = 200_000;

export interface Frame {
  lang: string;
  theme: 'light' | 'dark';
  textSize: string;
  /** Address of the report's style sheet, on this origin. */
  styles: string;
  /** This page, without fragment. */
  page: string;
}

/** A whole document for `srcdoc`. */
export function cleaned(html: string, frame: Frame): string {
  const from = new DOMParser().parseFromString(html, 'text/html');
  const to = document.implementation.createHTMLDocument('');
  const budget = { left: MAX_NODES };
  for (const child of from.body.childNodes) copy(child, to.body, to, frame.page, budget);
  return wrap(to, from.documentElement.lang || frame.lang, frame);
}

/** Plain text as such a document. */
export function cleanedText(plain: string, frame: Frame): string {
  const to = document.implementation.createHTMLDocument('');
  const block = to.createElement('pre');
  block.textContent = plain;
  to.body.append(block);
  return wrap(to, frame.lang, frame);
}

function wrap(made: Document, lang: string, frame: Frame): string {
  const root = made.documentElement;
  root.lang = lang;
  root.dataset['theme'] = frame.theme;
  root.dataset['text'] = frame.textSize;
  const charset = made.createElement('meta');
  charset.setAttribute('charset', 'utf-8');
  const styles = made.createElement('link');
  styles.rel = 'stylesheet';
  styles.href = frame.styles;
  made.head.prepend(charset, styles);
  return `<!doctype html>${root.outerHTML}`;
}

function copy(node: Node, into: Element, made: Document, page: string, budget: { left: number }): void {
  budget.left -= 1;
  if (budget.left < 0) return;
  if (node.nodeType === Node.TEXT_NODE) {
    into.append(made.createTextNode(node.textContent ?? ''));
    return;
  }
  if (!(node instanceof Element) || DROPPED.has(node.tagName.toUpperCase())) return;
  const known = TAGS.has(node.tagName);
  const element = known ? made.createElement(node.tagName) : into;
  if (element instanceof HTMLAnchorElement || element.tagName === 'A') {
    const href = node.getAttribute('href') ?? '';
    if (LINK.test(href)) {
      element.setAttribute('href', `${page}${href}`);
      element.setAttribute('target', '_top');
    }
  }
  if (known) into.append(element);
  for (const child of node.childNodes) copy(child, element, made, page, budget);
}
