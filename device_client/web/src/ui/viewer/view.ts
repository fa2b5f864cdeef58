/** Where the picture stands on the screen: how much larger than fitting, and how far moved. Screen units are CSS pixels. */

export interface Size {
  width: number;
  height: number;
}

export interface Point {
  x: number;
  y: number;
}

export interface View {
  /** 1 fits the picture into the screen. */
  readonly zoom: number;
  /** Moved from the middle of the screen, CSS pixels. */
  readonly x: number;
  readonly y: number;
}

export const FITTED: View = { zoom: 1, x: 0, y: 0 };
export const MAX_ZOOM = 12;

/** CSS pixels a picture pixel at zoom 1. */
export function fitScale(picture: Size, screen: Size): number {
  if (!picture.width || !picture.height) return 1;
  return Math.min(screen.width / picture.width, screen.height / picture.height);
}

/** The rectangle on the screen that the picture fills. */
export function placed(view: View, picture: Size, screen: Size): Point & Size {
  const scale = fitScale(picture, screen) * view.zoom;
  const width = picture.width * scale;
  const height = picture.height * scale;
  return { x: (screen.width - width) / 2 + view.x, y: (screen.height - height) / 2 + view.y, width, height };
}

function within(value: number, most: number): number {
  return Math.min(most, Math.max(-most, value));
}

/** The view kept within what makes sense: no edge of a larger picture leaves its edge of the screen. */
export function bounded(view: View, picture: Size, screen: Size): View {
  const zoom = Math.min(MAX_ZOOM, Math.max(1, view.zoom));
  const scale = fitScale(picture, screen) * zoom;
  const limit = (pictureSide: number, screenSide: number): number => Math.max(0, (pictureSide * scale - screenSide) / 2);
  return {
    zoom,
    x: within(view.x, limit(picture.width, screen.width)),
    y: within(view.y, limit(picture.height, screen.height)),
  };
}

/** Zoomed by a factor, so that what lies under `at` (from the screen's top left) stays there. */
export function zoomedAt(view: View, factor: number, at: Point, screen: Size): View {
  const zoom = Math.min(MAX_ZOOM, Math.max(1, view.zoom * factor));
  const change = zoom / view.zoom;
  const dx = at.x - screen.width / 2;
  const dy = at.y - screen.height / 2;
  return { zoom, x: dx - (dx - view.x) * change, y: dy - (dy - view.y) * change };
}

export function movedBy(view: View, dx: number, dy: number): View {
  return { zoom: view.zoom, x: view.x + dx, y: view.y + dy };
}
