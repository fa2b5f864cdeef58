/** Whether a report stands beside the pictures; else it lies over them. The same conditions as in styles/panel.css. */

const query = matchMedia(
  '((min-width: 56rem) and (orientation: landscape)), ((min-width: 44rem) and (min-height: 50rem) and (orientation: portrait))',
);

export function standsBeside(): boolean {
  return query.matches;
}
