/** 수를 적는 방식. */
export const n0 = (n: number): string => n.toLocaleString('ko');
