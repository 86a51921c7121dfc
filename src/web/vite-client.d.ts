// What Vite lets the page import besides code: style sheets.
declare module '*.css';
