//! The dashboard: a page, its style, its script and its icon, all in the binary.

use actix_web::HttpResponse;

pub(super) async fn page() -> HttpResponse {
    serve("text/html; charset=utf-8", include_str!("dashboard/index.html"))
}

pub(super) async fn style() -> HttpResponse {
    serve("text/css; charset=utf-8", include_str!("dashboard/style.css"))
}

pub(super) async fn script() -> HttpResponse {
    serve("text/javascript; charset=utf-8", include_str!("dashboard/app.js"))
}

pub(super) async fn icon() -> HttpResponse {
    serve("image/svg+xml", include_str!("dashboard/icon.svg"))
}

fn serve(content_type: &'static str, content: &'static str) -> HttpResponse {
    HttpResponse::Ok().content_type(content_type).body(content)
}

#[cfg(test)]
mod tests {
    /// A peer's string must never become markup, and the content security policy allows nothing from elsewhere.
    #[test]
    fn the_page_has_no_way_to_make_markup_of_text_and_asks_nobody_else() {
        let script = include_str!("dashboard/app.js");
        let code = script.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
        for way in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "http:"]
        {
            assert!(!code.replace("http://www.w3.org/2000/svg", "").contains(way), "{way}");
        }
        let page = include_str!("dashboard/index.html");
        for way in ["http:", "https:", " style=", " onclick=", "<style", "javascript:"] {
            assert!(!page.contains(way), "{way}");
        }
    }
}
