// Puts the page into its frame.
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import './styles/tokens.css';
import './styles/layout.css';
import './styles/chat.css';
import './styles/prose.css';
import './styles/history.css';
import './styles/experts.css';
import './styles/settings.css';
import { Page } from './page.tsx';

createRoot(document.getElementById('page')!).render(
  <StrictMode>
    <Page />
  </StrictMode>,
);
